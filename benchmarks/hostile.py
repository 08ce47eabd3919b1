"""Input that hashing and searching for periods could be slow on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from benchmarks.corpus import LONGEST, Corpus, Ints, Ragged, Zipf

TINY = 8  # mean tokens of a tiny row


@dataclass(frozen=True)
class Input:
    """Token rows [N, T] and what they are measured against; ordinary ones against nothing."""

    name: str
    tokens: pl.Series
    count: int  # tokens
    against: tuple[str, ...] = ()


def make_inputs(corpus: Corpus, rows: int, seed: int) -> list[Input]:
    """Ordinary inputs and hostile ones; ``rows`` is the number of tiny or equal rows.

    Inputs of tiny rows are measured twice: against the corpus, whose rows are long, and against as many tiny rows
    of ordinary tokens, which tells what the hostile part alone costs.
    """
    rng = np.random.default_rng(seed + 1)
    zipf = Zipf(rng)

    def lists(lengths: Ints) -> Ragged:
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return Ragged(zipf.draw(int(offsets[-1])), offsets)

    ordinary_count = len(corpus.tokens.values)
    constant = Ragged(np.full(ordinary_count, 7, np.uint32), corpus.tokens.offsets)
    lengths = rng.integers(1, 2 * TINY, rows)
    tiny = lists(lengths)
    huge = lists(np.insert(lengths, rows // 2, min(rows * 2, 1 << 21)))
    equal = Ragged(np.tile(zipf.draw(TINY), rows), np.arange(rows + 1) * TINY)
    # As many rows of 65,536 tokens as make up the corpus, each with another period.
    looping_rows = max(1, min(64, ordinary_count // LONGEST))
    loops = [np.resize(zipf.draw(period), LONGEST) for period in _periods(looping_rows)]
    looping = Ragged(np.concatenate(loops), np.arange(looping_rows + 1) * LONGEST)

    def named(name: str, tokens: Ragged, *against: str) -> Input:
        return Input(name, tokens.series(), len(tokens.values), against)

    long, short = "the corpus", f"{rows:,} tiny ordinary rows"
    return [
        named(long, corpus.tokens),
        named(short, tiny),
        named("constant tokens", constant, long),
        named("looping rows of 65,536 tokens", looping, long),
        named(f"one huge row among {rows:,} tiny", huge, long, short),
        named(f"{rows:,} equal rows", equal, long, short),
    ]


def _periods(count: int) -> list[int]:
    """From 1 to half a row, evenly on a logarithmic scale."""
    return [int(period) for period in np.geomspace(1, LONGEST // 2, count)]
