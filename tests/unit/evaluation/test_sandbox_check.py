"""Verdicts: what passes, and that no program can make its own."""

from __future__ import annotations

import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dasd.errors import InputError
from dasd.evaluation.sandbox import (
    Assertions,
    Calls,
    Limits,
    Outcome,
    SandboxError,
    StdinCases,
    bubblewrap,
    check,
    read_tests,
    run_program,
)
from dasd.evaluation.sandbox.check import same_output
from dasd.evaluation.sandbox.inside import Opaque, decode, encode
from dasd.evaluation.sandbox.seccomp import seccomp_filter

needs_bwrap = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap isn't installed")

ADD = Assertions(
    type="assertions",
    code="def check(candidate):\n    assert candidate(2, 3) == 5\n    assert candidate([1], [2]) == [1, 2]\n",
    entry_point="add",
    cpu_seconds=2,
)
ADD_CALLS = Calls.model_validate(
    {
        "type": "calls",
        "function": "add",
        "cases": [{"args": [2, 3], "expected": 5}, {"args": [[1], [2]], "expected": [1, 2]}],
        "cpu_seconds": 2,
    }
)
ADD_LINES = StdinCases.model_validate(
    {
        "type": "stdin",
        "cases": [{"input": "2 3\n", "output": "5\n"}, {"input": "4 5\n", "output": "9"}],
        "cpu_seconds": 2,
    }
)


@needs_bwrap
def test_right_programs_pass() -> None:
    assert check("def add(a, b): return a + b", ADD).passed
    assert check("def add(a, b): return a + b", ADD_CALLS).passed
    assert check("print(sum(map(int, input().split())))", ADD_LINES).passed


@needs_bwrap
def test_wrong_programs_fail_and_the_detail_says_where() -> None:
    result = check("def add(a, b): return a * 2 + 1", ADD)
    assert result.outcome is Outcome.FAILED
    assert "line 3, assert candidate([1], [2]) == [1, 2]" in result.detail
    assert check("def add(a, b): return 5", ADD_CALLS).detail == "case 1: other value"
    assert check("print(5)", ADD_LINES).detail == "case 1: other output"


# Programs that want to pass without being right, whatever the kind of the tests.
FORGERIES = {
    "prints-success": "print('passed'); print('OK'); print('\"\"')",
    "exits-early": "import sys; sys.exit(0)",
    "exits-at-once": "import os; os._exit(0)",
    "exits-in-the-call": "import os\ndef add(a, b): os._exit(0)",
    "raises-system-exit-in-the-call": "def add(a, b): raise SystemExit(0)",
    "equal-to-everything": "class Any:\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\n    def __hash__(self): return 0\ndef add(a, b): return Any()",
    "int-equal-to-everything": "class Any(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\ndef add(a, b): return Any(7)",
    "list-equal-to-everything": "class Any(list):\n    def __eq__(self, other): return True\ndef add(a, b): return Any([7])",
    "patches-builtins": "import builtins\nbuiltins.print = builtins.len = builtins.AssertionError = lambda *a: True\nbuiltins.__debug__ = False if 0 else None\ndef add(a, b): return 0",
    "patches-the-codec": "import json\njson.dumps = lambda *a, **k: '\"\"'\ndef add(a, b): return 0",
    "swaps-assertion-error": "import builtins\nclass AssertionError(BaseException):\n    def __new__(cls, *a): import os; os._exit(0)\nbuiltins.AssertionError = AssertionError\ndef add(a, b): return 0",
    "writes-on-every-descriptor": "import os\nfor fd in range(64):\n    for text in (b'\"\"', b'\"\"\\n', b'started\\n', b'5\\n[1, 2]\\n'[:0]):\n        try: os.write(fd, text)\n        except OSError: pass\nos._exit(0)",
    "forges-replies": 'import os\ndef add(a, b):\n    for fd in range(3, 64):\n        try: os.write(fd, b\'{"value": {"o": 0}}\\n\' * 100)\n        except OSError: pass\n    os._exit(0)',
    "forges-strange-replies": "import os\ndef add(a, b):\n    for fd in range(3, 64):\n        try: os.write(fd, b'[' * 3000 + b'\\n')\n        except OSError: pass\n    os._exit(0)",
    "never-ending-reply": "import os\ndef add(a, b):\n    while True:\n        for fd in range(3, 64):\n            try: os.write(fd, b'1' * 65536)\n            except OSError: pass",
    "looks-for-the-tests-in-frames": """
import gc, sys
needles = ["candidate" + "(2, 3)", "exp" + "ected"]
def add(a, b):
    seen = gc.get_objects()
    frame = sys._getframe()
    while frame:
        seen += list(frame.f_locals.values()) + list(frame.f_globals.values())
        frame = frame.f_back
    for each in seen:
        if isinstance(each, str) and needles[0] in each or isinstance(each, dict) and needles[1] in each:
            return 5 if a == 2 else [1, 2]
""",
    "kills-everything": "import os\ndef add(a, b): os.kill(-1, 9); os.kill(1, 9); os.kill(os.getpid(), 9)",
    "hooks-at-exit": "import atexit, os, sys\natexit.register(lambda: os._exit(0))\nsys.excepthook = lambda *a: os._exit(0)\ndef add(a, b): raise ValueError",
    "leaves-a-forger": "import os, time\nif os.fork() == 0:\n    while True:\n        for fd in range(1, 64):\n            try: os.write(fd, b'\"\"')\n            except OSError: pass\nos._exit(0)",
    "syntax-error": "def add(a, b) return",
    "empty": "",
}


@needs_bwrap
@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_verdict_does_not_pass(name: str) -> None:
    for tests in (ADD, ADD_CALLS, ADD_LINES):
        assert not check(FORGERIES[name], tests, Limits(wall_seconds=20)).passed, type(tests).__name__


@needs_bwrap
def test_a_program_that_dies_in_a_call_cannot_be_taken_for_one_that_raises() -> None:
    tests = Assertions(
        type="assertions", code="try:\n    f(1)\n    assert False\nexcept:\n    pass\n", cpu_seconds=2
    )
    assert not check("import os\ndef f(x): os._exit(0)", tests).passed


@needs_bwrap
def test_expected_exceptions_and_helpers_of_the_program_reach_the_tests() -> None:
    code = (
        "import math\n"
        "def check(candidate):\n"
        "    try:\n        candidate(-1)\n    except ValueError as error:\n        assert 'negative' in str(error)\n"
        "    else:\n        raise AssertionError\n"
        "    assert math.isclose(candidate(square(3)), 3)\n    assert pair() == (1, {2: {'a'}})\n"
    )
    program = (
        "def square(x): return x * x\ndef pair(): return 1, {2: {'a'}}\n"
        "def root(x):\n    if x < 0: raise ValueError('negative')\n    print('debug'); return x ** 0.5\n"
    )
    result = check(program, Assertions(type="assertions", code=code, entry_point="root"))
    assert result.passed, result.detail


@needs_bwrap
def test_methods_of_a_class_and_a_preamble() -> None:
    tests = Calls.model_validate(
        {
            "type": "calls",
            "function": "Solution.twice",
            "preamble": "from typing import List",
            "cases": [{"args": [[1]], "expected": [1, 1]}],
        }
    )
    program = "class Solution:\n    def twice(self, x: List[int]) -> List[int]:\n        return x * 2"
    assert check(program, tests).passed
    lazy = f"from __future__ import annotations\n{program.replace('List[int]', 'Unknown')}"
    assert check(lazy, tests).passed, "such an import may stand behind a preamble"
    assert not check("from __future__ import nothing", tests).passed


@needs_bwrap
def test_why_a_check_ended_is_told() -> None:
    assert check("def add(a, b):\n    while True: pass", ADD).outcome is Outcome.TIMEOUT
    assert check("def add(a, b):\n    return [0] * 10**12", ADD).outcome is Outcome.MEMORY
    assert check("def add(a, b):\n    while True: print('x' * 1000)", ADD).outcome is Outcome.OUTPUT
    assert check("while True: pass", ADD_LINES).outcome is Outcome.TIMEOUT


@needs_bwrap
def test_the_same_program_gives_the_same_order_of_sets() -> None:
    source = "print(list({str(n) for n in range(50)}))"
    assert run_program(source).stdout == run_program(source).stdout


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("1 2\n3\n", "1  2 \n3", True),
        ("1\n\n2", "1\n2\n", True),
        ("0.50", "0.5", True),
        ("1e3", "1000", True),
        ("1 2", "1\n2", False),
        ("yes", "Yes", False),
        ("nan", "nan", True),
        ("nan", "NaN", False),
        ("5", "5.0000001", False),
        ("", "", True),
        ("1", "", False),
        ("10", "1_0", False),
        ("5", "\u0665", False),
    ],
)
def test_output_is_compared_by_words(expected: str, printed: str, same: bool) -> None:
    assert same_output(expected, printed) is same


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=10,
) | st.sets(st.integers())


@given(plain)
def test_plain_values_cross_unchanged(value: object) -> None:
    back = decode(json.loads(json.dumps(encode(value))))
    assert back == value
    assert type(back) is type(value)


def test_other_values_become_equal_to_nothing() -> None:
    for value in (object(), len, range(3), {"o": object()}["o"]):
        back = decode(json.loads(json.dumps(encode(value))))
        assert isinstance(back, Opaque)
        assert back != value
    assert isinstance(decode({"x": 1, "y": 2}), Opaque)


@pytest.mark.parametrize("text", ["", "[]", '{"type": "other"}', '{"type": "stdin", "cases": []}', "5"])
def test_tests_that_cannot_be_read_are_named(text: str) -> None:
    with pytest.raises(InputError, match="tests of verifier 'code'"):
        read_tests(text)


def test_without_bubblewrap_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bubblewrap, "_which", lambda _: None)
    with pytest.raises(SandboxError, match="install bubblewrap"):
        run_program("print(1)")


def test_without_bubblewrap_it_runs_only_when_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bubblewrap, "_which", lambda _: None)
    assert run_program("print(1)", without_sandbox=True).stdout == "1\n"
    assert check("def add(a, b): return a + b", ADD, without_sandbox=True).passed
    slow = run_program("import time; time.sleep(100)", limits=Limits(wall_seconds=0.3), without_sandbox=True)
    assert slow.outcome is Outcome.TIMEOUT


@needs_bwrap
def test_a_sandbox_that_does_not_start_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bubblewrap, "_python", lambda: "/usr/bin/there-is-no-such-python")
    with pytest.raises(SandboxError, match="didn't start"):
        run_program("print(1)")


def test_the_filter_is_made_for_known_machines_alone() -> None:
    assert len(seccomp_filter("x86_64") or b"") == len(seccomp_filter("aarch64") or b"") > 0
    assert seccomp_filter("s390x") is None
