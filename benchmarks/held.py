"""What the stages hold of every response, each by itself: bytes a response at its peak and after, and seconds.

The rows are made on the way, some thousand at a time, so no run of that size is needed: a run of ten million responses
takes a day. A process each; the peak is what resident memory rises over its start.

Example:
    python -m benchmarks.held
    python -m benchmarks.held --responses 1000000 --json held.json
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.machine import describe, peak_bytes, restart_peak
from dasd.base.drawn_ids import drawn_ids
from dasd.base.id_numbers import IdNumbers
from dasd.base.id_set import IdSet
from dasd.pipeline.stages.selection_figures import SelectionFigures

CANDIDATES = 4
BATCH = 8192


def _ids(count: int) -> Iterator[pl.Series]:
    """As ids of responses are: 32 hexadecimal digits."""
    for start in range(0, count, BATCH):
        numbers = range(start, min(start + BATCH, count))
        yield pl.Series([f"{number * 0x9E3779B97F4A7C15 % 2**128:032x}" for number in numbers])


def _windows(count: int) -> Iterator[pl.DataFrame]:
    """Of a selection: BATCH candidates each, four a question."""
    for start in range(0, count, BATCH):
        draw = np.random.default_rng(start)
        size = min(BATCH, count - start)
        best = np.arange(size) % CANDIDATES == 0
        sentences = draw.integers(0, 40, (3, size)).astype(np.uint32)
        yield pl.DataFrame(
            {
                "question_id": (start + np.arange(size)) // CANDIDATES,
                "domain": ["sums"] * size,
                "rank": draw.normal(size=size),
                "tokens": draw.integers(100, 40_000, size).astype(np.uint32),
                **dict(zip(("teacher", "student", "common"), sentences, strict=True)),
                **dict.fromkeys(("selected", "drawn"), best),
                "correct": draw.random(size) < 0.8,
                "by_length": np.roll(best, 1),
                "by_lot": np.roll(best, 2),
            }
        )


class _Scanned:
    """A LazyFrame of ids as far as a draw reads it."""

    def __init__(self, count: int) -> None:
        self._count = count

    def collect_batches(self) -> Iterator[pl.DataFrame]:
        """The ids, some at a time."""
        return (ids.to_frame("sample_id") for ids in _ids(self._count))


def _figures(count: int) -> object:
    figures = SelectionFigures()
    for window in _windows(count):
        figures.add(window)
    figures.summary()
    return figures


def _numbers(count: int) -> object:
    found = IdNumbers()
    for ids in _ids(count):
        for name in ids:
            found.add(name)
    return found


def _kept(count: int) -> object:
    kept = IdSet(_ids(count))
    kept.keep(_ids(count))
    return kept


HELD: dict[str, Callable[[int], object]] = {
    "kept and scored": _kept,
    "figures of a selection": _figures,
    "draw of a quarter": lambda count: drawn_ids(_Scanned(count), count // 4, "balance", 0),  # type: ignore[arg-type]
    "numbers of ids in files": _numbers,
}


def one(what: str, count: int) -> None:
    """Measure one of them; a line of JSON for the parent process."""
    HELD[what](2 * BATCH)  # what is loaded the first time
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    start, begin = restart_peak(), time.process_time()
    held = HELD[what](count)
    seconds, peak = time.process_time() - begin, peak_bytes() - start
    ctypes.CDLL(None).malloc_trim(0)
    left = restart_peak() - start
    del held
    print(json.dumps({"peak_bytes": peak / count, "left_bytes": left / count, "cpu_seconds": seconds}))


def main() -> None:
    """Measure each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--responses", type=int, default=10_000_000)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--one", choices=HELD, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        one(arguments.one, arguments.responses)
        return
    found = {}
    for what in HELD:
        command = [
            sys.executable,
            "-m",
            "benchmarks.held",
            "--responses",
            str(arguments.responses),
            "--one",
            what,
        ]
        found[what] = json.loads(
            subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
        )
        peak, left, seconds = found[what].values()
        print(
            f"{what:25s} {peak:6.1f} bytes a response at the peak, {left:6.1f} after, {seconds:7.1f} s of CPU"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": describe(), "held": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
