"""What a program reports is compared at a cost that the expected value bounds, and rightly."""

from __future__ import annotations

import json
import shutil
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dasd.evaluation.sandbox import Assertions, Calls, Outcome, check
from dasd.evaluation.sandbox.inside import encode
from dasd.evaluation.sandbox.reported import most_bytes, same_value

needs_bwrap = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap isn't installed")

expected_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


def line(value: object) -> bytes:
    """As the sandbox writes it."""
    return json.dumps(encode(value)).encode()


@given(expected_values)
def test_an_equal_value_always_fits(expected: object) -> None:
    assert same_value(expected, line(expected))
    assert same_value([expected], line((expected,)))
    if isinstance(expected, int | float) and not isinstance(expected, bool):
        assert same_value(expected, line(complex(expected))) is (complex(expected) == expected)
    if isinstance(expected, float) and expected.is_integer():
        assert same_value(expected, line(int(expected)))


@pytest.mark.parametrize(
    ("expected", "found", "same"),
    [
        (1, True, False),
        (True, 1, False),
        ([1], {1}, False),
        ("a", b"a", False),
        ({"1": 2}, {1: 2}, True),
        ({"1": 2}, {1: 3, "1": 2}, False),
        ({"(1, 2)": 3}, {(1, 2): 3}, True),
        ({"None": 0}, {None: 0}, True),
        ({"()": [()]}, {(): [[]]}, True),
        ({}, [], False),
        (None, object(), False),
    ],
)
def test_values_are_compared_by_the_rules(expected: object, found: object, same: bool) -> None:
    assert same_value(expected, line(found)) is same


_STEP = sys.hash_info.modulus
HOSTILE = {
    "colliding-keys": '{"d": [' + ",".join(f"[{n * _STEP}, 0]" for n in range(20_000)) + "]}",
    "colliding-members": '{"s": [' + ",".join(str(n * _STEP) for n in range(20_000)) + "]}",
    "colliding-key": '{"d": [[{"f": [' + ",".join(str(n * _STEP) for n in range(20_000)) + "]}, 0]]}",
    "empty-lists": "[" + "[]," * 100_000 + "[]]",
    "deep": "[" * 200_000 + "]" * 200_000,
    "digits": "1" * 1_000_000,
    "strange-tags": '{"c": 5}',
    "no-pairs": '{"d": [5]}',
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_reports_cost_little(kind: str) -> None:
    begun = time.process_time()
    for expected in (5, ["x" * 100_000], {"x" * 200_000: 0, "y": [1.5] * 20_000}):
        assert not same_value(expected, HOSTILE[kind].encode())
    assert time.process_time() - begun < 2


def test_the_bound_grows_with_the_value_alone() -> None:
    assert most_bytes(list(range(1000))) < 100_000
    assert most_bytes("x" * 1000) < 13_000


@needs_bwrap
@pytest.mark.parametrize("sent", ["b'\\n' * 60_000_000", "b'[' + b'[],' * 20_000_000 + b'[]]\\n'"])
def test_a_report_longer_than_any_right_one_is_not_read(sent: str) -> None:
    tests = Calls.model_validate({"type": "calls", "function": "f", "cases": [{"args": [], "expected": [1]}]})
    program = (
        f"import os\ndata = {sent}\ndef f():\n    for fd in range(3, 64):\n"
        "        try:\n            while data and os.write(fd, data): pass\n        except OSError: pass\n"
    )
    result = check(program, tests)
    assert result.outcome in (Outcome.FAILED, Outcome.OUTPUT)
    assert result.seconds < 15


@needs_bwrap
def test_what_a_verdict_tells_can_be_written() -> None:
    tests = Assertions(type="assertions", code="f()")
    result = check("def f(): raise ValueError('\\ud800')", tests)
    assert not result.passed
    result.detail.encode()
