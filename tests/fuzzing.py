"""Fuzzing by time: a few examples, always the same, in every test run; new ones for as long as asked.

``DASD_FUZZ_SECONDS=60 pytest -m fuzz FILE`` gives each fuzz test a minute of fresh examples.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

SECONDS = float(os.environ.get("DASD_FUZZ_SECONDS", "0"))

Test = Callable[..., Any]


def fuzz(examples: int = 100) -> Callable[[Test], Test]:
    """Decorates a test that ``@given`` has made: ``@fuzz(examples=200)`` above ``@given(...)``.

    Without ``DASD_FUZZ_SECONDS`` it sees ``examples`` inputs, the same each time; with it, rounds of that many fresh
    ones until the seconds are over. What fails is kept in ``.hypothesis`` and comes first the next time.
    """

    def decorate(test: Test) -> Test:
        limited = settings(
            max_examples=examples,
            derandomize=not SECONDS,
            deadline=None,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow],
        )(test)

        @functools.wraps(limited)
        def repeated(*arguments: Any, **named: Any) -> None:
            until, before = time.monotonic() + SECONDS, time.process_time()
            rounds = 0
            while not rounds or time.monotonic() < until:
                limited(*arguments, **named)
                rounds += 1
            print(f"{rounds} rounds of {examples} in {time.process_time() - before:.0f} s of processor time")

        # pytest's own limit begins where the seconds end.
        return pytest.mark.fuzz(pytest.mark.timeout(SECONDS + 300)(repeated))

    return decorate
