"""near_duplicates in crowds: many rows that share most of their text, which hashing alone can't tell apart.

For each crowd: the time a token takes divided by that of ordinary rows in the same round, the clusters that come
out, and how many of the pairs that were drawn at random and are alike (exact Jaccard similarity from 0.8, and from
0.85) share a cluster. Printed as a Markdown table.

Example:
    python -m benchmarks.crowds --seed 11
    python -m benchmarks.crowds --rows 2000 --rounds 2
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import polars as pl

from benchmarks.jaccard import jaccard
from benchmarks.machine import describe
from dasd import kernels

Rows = list[npt.NDArray[np.uint32]]
VOCABULARY = 150_000
LENGTH = 700
THRESHOLD = 0.8


def ordinary(rng: np.random.Generator, count: int) -> Rows:
    """Rows that have nothing in common, of log-normal length."""
    return [_tokens(rng, int(length)) for length in rng.lognormal(np.log(LENGTH), 0.8, count)]


def pool(size: int, taken: int, mean: int = 21) -> Callable[[np.random.Generator, int], Rows]:
    """Rows that are ``taken`` of ``size`` sentences of about ``mean`` tokens, half of them in another order."""

    def make(rng: np.random.Generator, count: int) -> Rows:
        sentences = [_tokens(rng, int(rng.integers(5, 2 * mean))) for _ in range(size)]
        rows = []
        for row in range(count):
            chosen = rng.permutation(size)[:taken]
            chosen = np.sort(chosen) if row % 2 else chosen
            rows.append(np.concatenate([sentences[number] for number in chosen]))
        return rows

    return make


def chain(rng: np.random.Generator, count: int) -> Rows:
    """Each row is the one before with 0.4 % of its tokens changed: neighbours are alike, ends are not."""
    rows = [_tokens(rng, LENGTH)]
    while len(rows) < count:
        row = rows[-1].copy()
        row[rng.integers(0, LENGTH, 3)] = _tokens(rng, 3)
        rows.append(row)
    return rows


def star(share: float) -> Callable[[np.random.Generator, int], Rows]:
    """Copies of one row, each with up to ``share`` of its tokens changed."""

    def make(rng: np.random.Generator, count: int) -> Rows:
        base = _tokens(rng, LENGTH)
        return [_changed(rng, base, rng.uniform(0, share)) for _ in range(count)]

    return make


def families(rng: np.random.Generator, count: int) -> Rows:
    """Families of 1 to 39 copies of a row, each with up to 6 % of its tokens changed."""
    rows: Rows = []
    while len(rows) < count:
        base = _tokens(rng, LENGTH)
        rows += [_changed(rng, base, rng.uniform(0, 0.06)) for _ in range(int(rng.integers(1, 40)))]
    return rows[:count]


CROWDS: dict[str, Callable[[np.random.Generator, int], Rows]] = {
    "ordinary rows": ordinary,
    "30 of 33 sentences": pool(33, 30),
    "24 of 30 sentences": pool(30, 24),
    "9 of 12 formulas": pool(12, 9, 6),
    "chain of small changes": chain,
    "copies with up to 4 % changed": star(0.04),
    "copies with up to 12 % changed": star(0.12),
    "families of copies": families,
}


def _tokens(rng: np.random.Generator, count: int) -> npt.NDArray[np.uint32]:
    return rng.integers(0, VOCABULARY, count, dtype=np.uint32)


def _changed(rng: np.random.Generator, base: npt.NDArray[np.uint32], share: float) -> npt.NDArray[np.uint32]:
    return np.where(rng.random(len(base)) < share, _tokens(rng, len(base)), base)


def recall(
    rng: np.random.Generator, rows: Rows, clusters: npt.NDArray[np.uint32], pairs: int
) -> dict[float, tuple[int, int]]:
    """Of random pairs, half of them neighbours: (in one cluster, alike) by least similarity."""
    found = {THRESHOLD: (0, 0), 0.85: (0, 0)}
    for number in range(pairs):
        a = int(rng.integers(0, len(rows) - 1))
        b = a + int(rng.integers(1, 10)) if number % 2 else int(rng.integers(0, len(rows)))
        if a == b or b >= len(rows):
            continue
        similarity = jaccard(rows[a], rows[b])
        for least, (together, alike) in found.items():
            if similarity >= least:
                found[least] = (together + int(clusters[a] == clusters[b]), alike + 1)
    return found


def main() -> int:
    """Measure every crowd and print the table; 0."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=8000, metavar="N")
    parser.add_argument("--rounds", type=int, default=7, metavar="N")
    parser.add_argument("--pairs", type=int, default=4000, metavar="N", help="pairs drawn for the recall")
    parser.add_argument("--seed", type=int, default=11, metavar="N")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    crowds = {name: make(rng, options.rows) for name, make in CROWDS.items()}
    columns = {
        name: pl.Series([pl.Series(row) for row in rows], dtype=pl.List(pl.UInt32))
        for name, rows in crowds.items()
    }
    times: dict[str, list[float]] = {name: [] for name in crowds}
    clusters = {}
    for _ in range(options.rounds):
        for name, tokens in columns.items():
            begin = time.perf_counter()
            clusters[name] = kernels.near_duplicates(tokens, THRESHOLD).to_numpy()
            times[name].append((time.perf_counter() - begin) / int(tokens.list.len().sum()))
    machine = describe()
    print(f"{machine['cpu']}, {machine['cores']} cores; rows {options.rows:,}, seed {options.seed}\n")
    print("| crowd | x time a token: min / median / max | clusters | J >= 0.85 | J >= 0.8 |")
    print("|---|---|---|---|---|")
    for name, rows in crowds.items():
        ratios = [own / plain for own, plain in zip(times[name], times["ordinary rows"], strict=True)]
        spread = f"{min(ratios):.1f} / {statistics.median(ratios):.1f} / {max(ratios):.1f}"
        found = recall(rng, rows, clusters[name], options.pairs)
        shares = " | ".join(f"{together} of {alike}" for together, alike in (found[0.85], found[THRESHOLD]))
        print(f"| {name} | {spread} | {len(np.unique(clusters[name])):,} | {shares} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
