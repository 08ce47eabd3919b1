"""Model-written Python run where it can do no harm: bubblewrap, limits, and verdicts that it can't forge."""

from __future__ import annotations

from dasd.evaluation.sandbox.bubblewrap import SandboxError, require_sandbox
from dasd.evaluation.sandbox.cases import Assertions, Calls, StdinCases, Tests, read_tests
from dasd.evaluation.sandbox.check import check, check_many
from dasd.evaluation.sandbox.limits import Limits, Outcome, Result
from dasd.evaluation.sandbox.programs import run_many, run_program

__all__ = [
    "Assertions",
    "Calls",
    "Limits",
    "Outcome",
    "Result",
    "SandboxError",
    "StdinCases",
    "Tests",
    "check",
    "check_many",
    "read_tests",
    "require_sandbox",
    "run_many",
    "run_program",
]
