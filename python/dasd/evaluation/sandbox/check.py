"""Verdicts on programs, none of which the program could have made itself.

The program never sees the tests. Expected output and values are compared in dasd's own process; assertions run
in a second sandbox that calls the program's functions across a pipe, by value.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal, InvalidOperation

from dasd.evaluation.sandbox.box import Box, finish
from dasd.evaluation.sandbox.cases import Assertions, Calls, StdinCases
from dasd.evaluation.sandbox.limits import Limits, Outcome, Result
from dasd.evaluation.sandbox.programs import in_parallel, run_program
from dasd.evaluation.sandbox.reported import most_bytes, same_value

__all__ = ["check", "check_many", "same_output"]

_SETTLE_SECONDS = 0.2
"""How long a program that gave no answer has to end by itself."""


def check(
    program: str,
    tests: Assertions | StdinCases | Calls,
    limits: Limits | None = None,
    *,
    without_sandbox: bool = False,
) -> Result:
    """Whether ``program`` passes ``tests``; the outcome of the first that it doesn't pass, with ``detail``.

    The tests' own limits replace those of ``limits``. Raises SandboxError as ``run_program``.
    """
    limits = replace(
        limits or Limits(),
        cpu_seconds=tests.cpu_seconds,
        wall_seconds=tests.wall_seconds,
        memory_bytes=tests.memory_bytes,
    )
    if isinstance(tests, Assertions):
        return _assertions(program, tests, limits, without_sandbox)
    if isinstance(tests, StdinCases):
        return _stdin(program, tests, limits, without_sandbox)
    return _calls(program, tests, limits, without_sandbox)


def check_many(
    rows: Sequence[tuple[str, Assertions | StdinCases | Calls]],
    limits: Limits | None = None,
    workers: int | None = None,
    *,
    without_sandbox: bool = False,
) -> list[Result]:
    """As ``check`` for each (program, tests), ``workers`` at a time (None: two a processor), in order."""
    return in_parallel(
        lambda row: check(row[0], row[1], limits, without_sandbox=without_sandbox), rows, workers
    )


def same_output(expected: str, printed: str) -> bool:
    """Whether lines have the same words, empty lines and space aside; words that are both numbers by value."""
    left = [line.split() for line in expected.splitlines() if line.strip()]
    right = [line.split() for line in printed.splitlines() if line.strip()]
    if left == right:
        return True
    return [len(line) for line in left] == [len(line) for line in right] and all(
        a == b or _same_number(a, b)
        for one, other in zip(left, right, strict=True)
        for a, b in zip(one, other, strict=True)
    )


def _same_number(one: str, other: str) -> bool:
    # Decimal also reads 1_0 and the digits of other scripts.
    if max(len(one), len(other)) > 1000 or "_" in one + other or not (one + other).isascii():
        return False
    try:
        a, b = Decimal(one), Decimal(other)
    except InvalidOperation:
        return False
    return a.is_finite() and b.is_finite() and a == b


def _stdin(program: str, tests: StdinCases, limits: Limits, without_sandbox: bool) -> Result:
    seconds = 0.0
    for number, case in enumerate(tests.cases):
        result = run_program(
            program, case.input, limits, preamble=tests.preamble, without_sandbox=without_sandbox
        )
        seconds += result.seconds
        if not result.passed:
            return replace(result, seconds=seconds, detail=f"case {number}: {result.outcome}")
        if not same_output(case.output, result.stdout):
            return replace(
                result, outcome=Outcome.FAILED, seconds=seconds, detail=f"case {number}: other output"
            )
    return replace(result, seconds=seconds)


def _calls(program: str, tests: Calls, limits: Limits, without_sandbox: bool) -> Result:
    job: dict[str, object] = {
        "preamble": tests.preamble,
        "program": program,
        "function": tests.function,
        "arguments": [case.args for case in tests.cases],
    }
    # No right program reports more: what is longer isn't read.
    most = sum(most_bytes(case.expected) + 1 for case in tests.cases)
    with Box("calls", job, limits, without_sandbox=without_sandbox, most_report=most) as box:
        finish(box)
        result = box.result()
        *lines, _ = box.report().split(b"\n", len(tests.cases))
    for number, case in enumerate(tests.cases):
        if number >= len(lines):
            failed = Outcome.FAILED if result.passed else result.outcome
            return replace(result, outcome=failed, detail=f"case {number}: no value")
        if not same_value(case.expected, lines[number]):
            return replace(result, outcome=Outcome.FAILED, detail=f"case {number}: other value")
    if not result.passed:
        return replace(result, detail="every value is right, then it didn't end as it should")
    return result


def _assertions(program: str, tests: Assertions, limits: Limits, without_sandbox: bool) -> Result:
    served: dict[str, object] = {"preamble": tests.preamble, "program": program}
    job: dict[str, object] = {"tests": tests.code, "entry_point": tests.entry_point}
    requests, replies = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
    ends = [*requests, *replies]
    try:
        with (
            Box(
                "serve", served, limits, descriptors=(requests[0], replies[1]), without_sandbox=without_sandbox
            ) as candidate,
            Box(
                "tests", job, limits, descriptors=(requests[1], replies[0]), without_sandbox=without_sandbox
            ) as tester,
        ):  # fmt: skip
            while ends:
                os.close(ends.pop())
            finish(tester, [candidate])
            if candidate.stopped and tester.started is None:
                return replace(candidate.result(), detail="stopped before the tests began")
            judged = tester.result()
            verdict = _verdict(tester.report())
            if verdict:
                candidate.settle(_SETTLE_SECONDS)
            result = candidate.result()
    finally:
        while ends:
            os.close(ends.pop())
    if judged.outcome is Outcome.PASSED and verdict == "":
        return replace(result, outcome=Outcome.PASSED, exit_code=0, signal=None, detail="")
    outcome = result.outcome
    if outcome is Outcome.PASSED or (outcome is Outcome.CRASH and result.signal == 9):
        outcome = Outcome.FAILED if judged.outcome is Outcome.PASSED else judged.outcome
    return replace(result, outcome=outcome, detail=verdict or f"the tests: {judged.outcome}")


def _verdict(report: bytes) -> str | None:
    """What the tests' sandbox says: empty if all passed, None if it said nothing."""
    try:
        verdict = json.loads(report)
    except (ValueError, RecursionError):
        return None
    # A lone surrogate, which an exception's text may hold, could be written nowhere.
    return verdict.encode(errors="replace").decode() if isinstance(verdict, str) else "the tests: no verdict"
