"""How many programs a minute the sandbox runs.

Example:
    python -m benchmarks.sandbox --programs 1000
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time

from benchmarks.machine import describe
from dasd.evaluation.sandbox import Assertions, Result, StdinCases, check_many, run_many

PROGRAM = "n = int(input())\nprint(sum(i * i for i in range(n)))\n"
FUNCTION = "def squares(n):\n    return sum(i * i for i in range(n))\n"


def main() -> None:
    """Print what was measured on, then programs a minute by kind of test."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--programs", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=None, help="at a time; default: two a processor")
    options = parser.parse_args()
    count, workers = options.programs, options.workers
    stdin = StdinCases.model_validate({"type": "stdin", "cases": [{"input": "100", "output": "328350"}]})
    asserting = Assertions(
        type="assertions",
        code="def check(candidate):\n    assert candidate(100) == 328350\n",
        entry_point="squares",
    )
    print(json.dumps(describe()))
    print(f"load before: {os.getloadavg()[0]:.1f}")
    print("| kind | programs | seconds | programs a minute | median ms in the sandbox |")
    print("|---|---:|---:|---:|---:|")
    for name, run in (
        ("run", lambda: run_many([(PROGRAM, "100")] * count, workers=workers)),
        ("stdin, one case", lambda: check_many([(PROGRAM, stdin)] * count, workers=workers)),
        ("assertions", lambda: check_many([(FUNCTION, asserting)] * count, workers=workers)),
    ):
        begin = time.perf_counter()
        results: list[Result] = run()
        seconds = time.perf_counter() - begin
        if not all(result.passed for result in results):
            raise SystemExit(f"{name}: a program that is right didn't pass")
        median = statistics.median(result.seconds for result in results) * 1000
        print(f"| {name} | {count} | {seconds:.1f} | {count / seconds * 60:.0f} | {median:.1f} |")


if __name__ == "__main__":
    main()
