"""Every kernel against a plain numpy or Python version of the same on one corpus, in one run.

The two take turns; printed is the ratio of their times (theirs / ours) over the rounds. Results are compared
before anything is timed.

Example:
    python benchmarks/kernels.py --rows 2000 --rounds 5
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import polars as pl

from dasd import kernels


def corpus(rows: int, seed: int) -> tuple[pl.Series, pl.Series, pl.Series, pl.Series]:
    """Token ids, log-probabilities, token ends and sentence ends; lengths are heavy-tailed, ids Zipf."""
    rng = np.random.default_rng(seed)
    lengths = np.minimum(rng.lognormal(6.0, 1.0, rows).astype(np.int64) + 8, 65536)
    tokens = [np.minimum(rng.zipf(1.3, n), 50_000).astype(np.uint32) for n in lengths]
    logprobs = [(-rng.exponential(0.5, n)).astype(np.float32) for n in lengths]
    token_ends = [np.cumsum(rng.integers(1, 8, n)).astype(np.uint32) for n in lengths]
    sentence_ends = [np.unique(np.append(ends[19::20], ends[-1])) for ends in token_ends]
    as_u32 = pl.List(pl.UInt32)
    return (
        pl.Series(tokens, dtype=as_u32),
        pl.Series(logprobs, dtype=pl.List(pl.Float32)),
        pl.Series(token_ends, dtype=as_u32),
        pl.Series(sentence_ends, dtype=as_u32),
    )


def numpy_probabilities(logprobs: pl.Series, ends: pl.Series, sentences: pl.Series) -> list[np.ndarray]:
    """Geometric means by ``numpy.add.reduceat``; sentence ends fall on token ends in this corpus."""
    out = []
    for values, token_ends, sentence_ends in zip(logprobs, ends, sentences, strict=True):
        last = np.searchsorted(token_ends.to_numpy(), sentence_ends.to_numpy())
        starts = np.append(0, last[:-1] + 1)
        sums = np.add.reduceat(values.to_numpy().astype(np.float64), starts)
        out.append(np.exp(sums / np.diff(np.append(starts, last[-1] + 1))))
    return out


def python_exact(tokens: pl.Series) -> list[int]:
    """First row with the same tokens, by a dictionary of bytes."""
    first: dict[bytes, int] = {}
    return [first.setdefault(row.to_numpy().tobytes(), i) for i, row in enumerate(tokens)]


def python_overlap(tokens: pl.Series, reference: pl.Series, n: int) -> list[float]:
    """Share of n-grams in a set of tuples."""
    seen = {tuple(row[i : i + n]) for row in reference.to_list() for i in range(len(row) - n + 1)}
    out = []
    for row in tokens.to_list():
        grams = [tuple(row[i : i + n]) for i in range(len(row) - n + 1)]
        out.append(sum(gram in seen for gram in grams) / len(grams) if grams else 0.0)
    return out


def python_pack(lengths: list[int], capacity: int) -> int:
    """Bins that best-fit decreasing needs, with a linear scan over open bins."""
    room: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [i for i, free in enumerate(room) if free >= length]
        if fitting:
            best = min(fitting, key=room.__getitem__)
            room[best] -= length
        else:
            room.append(capacity - length)
    return len(room)


def timed(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def main() -> None:
    """Check that results agree, then print ratios: minimum, median, maximum."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    tokens, logprobs, ends, sentences = corpus(arguments.rows, arguments.seed)
    reference = tokens.head(max(1, arguments.rows // 20))
    lengths = tokens.list.len()
    capacity = 65536 + 8

    ours = kernels.sentence_probabilities(logprobs, ends, sentences)
    theirs = numpy_probabilities(logprobs, ends, sentences)
    assert all(np.allclose(a.to_numpy(), b, rtol=1e-4) for a, b in zip(ours, theirs, strict=True))
    assert kernels.exact_duplicates(tokens).to_list() == python_exact(tokens)
    assert np.allclose(kernels.overlap(tokens, reference).to_numpy(), python_overlap(tokens, reference, 13))
    assert kernels.pack(lengths, capacity).max() == python_pack(lengths.to_list(), capacity) - 1

    pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "sentence_probabilities / numpy reduceat": (
            lambda: kernels.sentence_probabilities(logprobs, ends, sentences),
            lambda: numpy_probabilities(logprobs, ends, sentences),
        ),
        "exact_duplicates / dict of bytes": (
            lambda: kernels.exact_duplicates(tokens),
            lambda: python_exact(tokens),
        ),
        "overlap / set of tuples": (
            lambda: kernels.overlap(tokens, reference),
            lambda: python_overlap(tokens, reference, 13),
        ),
        "pack / best-fit by scan": (
            lambda: kernels.pack(lengths, capacity),
            lambda: python_pack(lengths.to_list(), capacity),
        ),
    }
    print(f"{arguments.rows} rows, {int(lengths.sum()):,} tokens, {arguments.rounds} rounds")
    for name, (our, their) in pairs.items():
        ratios = []
        for _ in range(arguments.rounds):
            mine = timed(our)
            ratios.append(timed(their) / mine)
        print(
            f"{name:42s} min {min(ratios):8.1f}  median {statistics.median(ratios):8.1f}  max {max(ratios):8.1f}"
        )


if __name__ == "__main__":
    main()
