"""What a stage would gain if it asked first for what is likely to become longest, by the lengths of an earlier stage.

Lengths of the same question's responses at two temperatures are log-normal and correlated in their logarithms. Requests
of the second stage are put into the order of the first one's lengths, as many at a time as scoring sorts
(``feeding.SORTED`` times those that run), and held against the order of the questions, on the engines of
``benchmarks.feeding simulation``: times on paper. ``known``: by the second stage's own lengths, which nobody
knows; a bound.

Example:
    python -m benchmarks.longest_first
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Sequence

from benchmarks.feeding import CAP, MACHINES, MEAN, PROMPT, READ, SPREAD, STEP, STEP_A_SEQUENCE
from dasd.pipeline.plan.engine_time import Engine, simulate
from dasd.pipeline.work.feeding import AHEAD, SORTED

Pair = tuple[float, int]
"""Lengths of a question's responses in the first and in the second stage."""


def draw(count: int, correlation: float, seed: int) -> list[Pair]:
    """Pairs of lengths in tokens; the second is cut at ``CAP``."""
    drawn = random.Random(seed)
    middle, rest = math.log(MEAN) - SPREAD**2 / 2, math.sqrt(1 - correlation**2)
    found = []
    for _ in range(count):
        first, own = drawn.gauss(0, 1), drawn.gauss(0, 1)
        second = math.exp(middle + SPREAD * (correlation * first + rest * own))
        found.append((math.exp(middle + SPREAD * first), max(1, min(CAP, round(second)))))
    return found


def ordered(pairs: Sequence[Pair], by: int, size: int) -> list[int]:
    """Lengths of the second stage, the longest by that member of the pair first in each part of ``size``."""
    parts = [pairs[start : start + size] for start in range(0, len(pairs), size)]
    return [pair[1] for part in parts for pair in sorted(part, key=lambda pair: pair[by], reverse=True)]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, nargs="+", default=[5_000, 20_000, 100_000])
    parser.add_argument("--correlation", type=float, default=0.7)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(
        f"correlation {given.correlation:g}, seed {given.seed}; hours of the stage, and what is saved of them"
    )
    print("| requests | engine | at once | in order | by the first stage's lengths | known |")
    print("|---:|---|---:|---:|---:|---:|")
    for count in given.requests:
        pairs = draw(count, given.correlation, given.seed)
        for machine in MACHINES:
            for sequences in (256, 1024):
                engine = Engine(sequences, STEP, STEP_A_SEQUENCE, machine.room, READ)
                before = simulate([own for _, own in pairs], engine, PROMPT, ahead=AHEAD).seconds
                cells = []
                for by in (0, 1):
                    lengths = ordered(pairs, by, SORTED * sequences)
                    took = simulate(lengths, engine, PROMPT, ahead=AHEAD).seconds
                    cells.append(f"{100 * (1 - took / before):+.1f} %")
                print(
                    f"| {count:,} | {machine.name} | {sequences:,} | {before / 3600:.2f} | {' | '.join(cells)} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
