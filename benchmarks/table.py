"""Timing in turn, ratios with their targets, and the table and JSON made of them."""

from __future__ import annotations

import dataclasses
import gc
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.machine import PeakMemory, describe

Work = Callable[[], object]


@dataclass(frozen=True)
class Contender:
    """One way to do the work.

    ``scale``: what its seconds are multiplied with, where it runs on a part of the input. ``target``: the least
    ratio of its time to ours, at the median. ``rounds``: the most rounds it takes part in (a slow one). ``note``:
    what it leaves out or is given for nothing.
    """

    name: str
    work: Work
    scale: float = 1.0
    target: float | None = None
    rounds: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """One line of the table: our time and theirs, in seconds, round by round (scaled to the whole input)."""

    kernel: str
    peer: str
    ours_seconds: tuple[float, ...]
    theirs_seconds: tuple[float, ...]
    ours_peak_bytes: int | None
    theirs_peak_bytes: int | None
    target: float | None
    scale: float
    note: str

    @property
    def ratios(self) -> list[float]:
        """Theirs / ours, each of two times taken in one round."""
        return [theirs / ours for ours, theirs in zip(self.ours_seconds, self.theirs_seconds, strict=True)]

    @property
    def met(self) -> bool | None:
        """Whether the median ratio reaches the target; None without one."""
        return None if self.target is None else statistics.median(self.ratios) >= self.target


@dataclass(frozen=True)
class Figure:
    """One measured value beside its target; several values where it was taken several times."""

    kernel: str
    name: str
    values: tuple[float, ...]
    unit: str
    bound: Literal["at least", "at most"] | None = None
    target: float | None = None
    note: str = ""
    is_result: bool = False  # says whether results agree: a miss is an error, not a slow day

    @property
    def met(self) -> bool | None:
        """Whether the median keeps the bound; None without a target."""
        if self.target is None:
            return None
        value = statistics.median(self.values)
        return value >= self.target if self.bound == "at least" else value <= self.target


def seconds(work: Work) -> float:
    """Wall time of one call; its result is freed outside of the time."""
    begin = time.perf_counter()
    result = work()
    elapsed = time.perf_counter() - begin
    del result
    return elapsed


def in_turn(kernel: str, ours: Work, peers: Sequence[Contender], rounds: int) -> list[Comparison]:
    """Runs ours and every peer once a round, so that each ratio is of neighbours in time.

    A first call of each, not timed, warms up (numba compiles in it) and gives the peak memory. The order turns
    from round to round, so that none always finds the caches as the same neighbour left them.
    """
    everyone = [Contender("ours", ours), *peers]
    peaks = [_peak(each.work) for each in everyone]
    taken: list[list[float | None]] = [[] for _ in everyone]
    gc.collect()
    gc.disable()
    try:
        for turn in range(rounds):
            took: dict[int, float] = {}
            for step in range(len(everyone)):
                place = (turn + step) % len(everyone)
                each = everyone[place]
                if each.rounds is None or turn < each.rounds:
                    took[place] = seconds(each.work) * each.scale
            for place, times in enumerate(taken):
                times.append(took.get(place))
    finally:
        gc.enable()
    lines = []
    for place, peer in enumerate(peers, start=1):
        pairs = [
            (a, b) for a, b in zip(taken[0], taken[place], strict=True) if a is not None and b is not None
        ]
        lines.append(
            Comparison(
                kernel=kernel,
                peer=peer.name,
                ours_seconds=tuple(a for a, _ in pairs),
                theirs_seconds=tuple(b for _, b in pairs),
                ours_peak_bytes=peaks[0],
                theirs_peak_bytes=peaks[place],
                target=peer.target,
                scale=peer.scale,
                note=peer.note,
            )
        )
    return lines


def _peak(work: Work) -> int | None:
    with PeakMemory() as peak:
        work()
    return peak.bytes


def number(value: float) -> str:
    """Three significant digits, thousands separated; small counts as they are."""
    if value == 0 or (value == int(value) and abs(value) < 1000):
        return f"{value:.0f}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread(values: Sequence[float]) -> str:
    """Minimum, median and maximum."""
    return " / ".join(number(value) for value in (min(values), statistics.median(values), max(values)))


def _verdict(met: bool | None) -> str:
    return "" if met is None else "met" if met else "**missed**"


def _megabytes(count: int | None) -> str:
    return "" if count is None else f"{count / 2**20:,.0f}"


def markdown(comparisons: Sequence[Comparison], figures: Sequence[Figure]) -> str:
    """Both tables."""
    lines = [
        "| kernel | peer | ours, s | theirs / ours: min / median / max | target | | peak MiB, ours / theirs | note |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for line in comparisons:
        target = "" if line.target is None else f">= {number(line.target)}"
        scaled = "" if line.scale == 1 else f"sample, time x {number(line.scale)}"
        lines.append(
            f"| {line.kernel} | {line.peer} | {min(line.ours_seconds):.4f} | {spread(line.ratios)} | {target} "
            f"| {_verdict(line.met)} | {_megabytes(line.ours_peak_bytes)} / {_megabytes(line.theirs_peak_bytes)} "
            f"| {'; '.join(filter(None, (scaled, line.note)))} |"
        )
    lines += ["", "| kernel | figure | value | unit | target | | note |", "|---|---|---|---|---|---|---|"]
    for figure in figures:
        value = number(figure.values[0]) if len(figure.values) == 1 else spread(figure.values)
        target = "" if figure.target is None else f"{figure.bound} {number(figure.target)}"
        lines.append(
            f"| {figure.kernel} | {figure.name} | {value} | {figure.unit} | {target} "
            f"| {_verdict(figure.met)} | {figure.note} |"
        )
    return "\n".join(lines)


def write_json(
    path: Path,
    settings: dict[str, object],
    comparisons: Sequence[Comparison],
    figures: Sequence[Figure],
    left_out: Sequence[str],
) -> None:
    """Everything measured, with the machine, versions and settings, as one JSON object."""
    document = {
        "machine": describe(),
        "settings": settings,
        "comparisons": [
            dataclasses.asdict(line)
            | {
                "ratio_min": min(line.ratios),
                "ratio_median": statistics.median(line.ratios),
                "ratio_max": max(line.ratios),
                "met": line.met,
            }
            for line in comparisons
        ],
        "figures": [
            dataclasses.asdict(figure) | {"median": statistics.median(figure.values), "met": figure.met}
            for figure in figures
        ],
        "left_out": list(left_out),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n")
