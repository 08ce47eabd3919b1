"""Running programs, one or many."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from dasd.evaluation.sandbox.box import Box, finish
from dasd.evaluation.sandbox.limits import Limits, Result

__all__ = ["in_parallel", "run_many", "run_program"]

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def run_program(
    source: str,
    stdin: str = "",
    limits: Limits | None = None,
    *,
    preamble: str = "",
    without_sandbox: bool = False,
) -> Result:
    """Run a Python program with ``stdin`` as its input, in the names that ``preamble`` leaves.

    Raises SandboxError where there is no sandbox or it doesn't start. ``without_sandbox``: as the user who runs
    dasd, with all rights; never the default.
    """
    with Box(
        "program",
        {"preamble": preamble, "program": source},
        limits or Limits(),
        stdin.encode("utf-8", "surrogateescape"),
        without_sandbox=without_sandbox,
    ) as box:
        finish(box)
        return box.result()


def run_many(
    programs: Sequence[tuple[str, str]], limits: Limits | None = None, workers: int | None = None
) -> list[Result]:
    """As ``run_program`` for each (source, stdin), ``workers`` at a time (None: two a processor), in order."""
    return in_parallel(lambda each: run_program(each[0], each[1], limits), programs, workers)


def in_parallel(work: Callable[[_In], _Out], items: Sequence[_In], workers: int | None) -> list[_Out]:
    """``work`` of each item, in order; the first exception ends it."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Two: a short program waits for its namespaces more than it computes. More would eat into its wall time.
    with ThreadPoolExecutor(workers or 2 * processors, "dasd-sandbox") as threads:
        try:
            return list(threads.map(work, items))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
