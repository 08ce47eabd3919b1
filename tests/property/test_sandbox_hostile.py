"""Hostile programs put together from fragments: none passes, dasd lives, and nothing of them is left."""

from __future__ import annotations

import os
import shutil
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzzing import fuzz

from dasd.evaluation.sandbox import Assertions, Calls, Limits, StdinCases, check
from dasd.evaluation.sandbox.processes import usage

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap isn't installed")

LIMITS = Limits()
SHORT = {"cpu_seconds": 1, "wall_seconds": 1.0}
TESTS = [
    Assertions.model_validate({"type": "assertions", "code": "assert f(2) == 'secret'", **SHORT}),
    StdinCases.model_validate({"type": "stdin", "cases": [{"input": "2", "output": "secret"}], **SHORT}),
    Calls.model_validate({"type": "calls", "function": "f", "cases": [{"args": [2], "expected": "secret"}], **SHORT}),
]  # fmt: skip
BYTES = [
    "b'\"\"'",
    "b'started\\n' * 9",
    "b'[' * 100000 + b'\\n'",
    'b\'{"value": {"o": 0}}\\n\'',
    "b'\\n' * 3000000",
    "b'9' * 2000000",
    "b'\\xff\\x00' * 99",
]
ACTIONS = [
    "os.fork()",
    "os.setsid() if os.fork() == 0 else None",
    "threading.Thread(target=time.sleep, args=(9,)).start()",
    "[os.mkdir(f'/tmp/{os.getpid()}-{n}') for n in range(30000)]",
    "print('x' * 2000000)",
    "sys.stderr.write('\\ud800' * 10)",
    "bytearray(1 << 34)",
    "os.kill(0, 9)",
    "os.kill(-1, 19)",
    "os.kill(os.getppid(), 9)",
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "signal.raise_signal(signal.SIGSTOP)",
    "sys.setrecursionlimit(10**9)",
    "os.closerange(0, 64)",
    "os._exit(0)",
    "sys.exit('\"\"')",
    "exec('while True: pass')",
    *[f"[os.write(n, {data}) for n in range({first}, 64) if open_(n)]" for data in BYTES for first in (1, 3)],
]
VALUES = [
    "[0] * 10**6",
    "{n * (2**61 - 1): 0 for n in range(50000)}",
    "10 ** 20000",
    "'\\ud800' * 1000",
    "functools.reduce(lambda kept, _: [kept], range(100000), 0)",
    "type('A', (str,), {'__eq__': lambda *_: True, '__hash__': str.__hash__})('x')",
    "object()",
    "f",
]
PROLOGUE = """
import functools, os, signal, sys, threading, time
def open_(n):
    try: os.fstat(n)
    except OSError: return False
    return True
"""


@st.composite
def programs(draw: st.DrawFn) -> str:
    """A program that does some hostile things when it is loaded and some when it is called."""

    def block(indent: str) -> str:
        actions = draw(st.lists(st.sampled_from(ACTIONS), max_size=3))
        return "".join(f"{indent}try: {each}\n{indent}except Exception: pass\n" for each in actions)

    return f"{PROLOGUE}def f(x):\n{block('    ')}    return {draw(st.sampled_from(VALUES))}\n{block('')}"


@fuzz(examples=10)
@given(programs(), st.sampled_from(TESTS))
def test_no_hostile_program_passes_or_stays(program: str, tests: Assertions | StdinCases | Calls) -> None:
    before, begun, spent = usage(os.getpid())[0], time.monotonic(), time.process_time()
    result = check(program, tests, LIMITS)
    assert not result.passed
    result.detail.encode()
    assert time.monotonic() - begun < 60
    assert time.process_time() - spent < 5, "dasd's own process"
    assert usage(os.getpid())[0] == before
