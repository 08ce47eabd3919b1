"""A seeded corpus shaped like that of the method's report, with everything planted in it known.

Response lengths are log-normal up to 65,536 tokens, token ids Zipf, sentences about 21 tokens long; there are
several candidate responses a question. Teacher and student tokenize one text differently: the student merges a
tenth of the teacher's tokens and cuts another tenth in two. In half of the places a sentence ends inside a token
(" Then" behind a full stop), as with real tokenizers, and each response ends with a token without width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from benchmarks.jaccard import jaccard

Ints = npt.NDArray[np.int64]
Tokens = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float32]

LONGEST = 65_536
VOCABULARY = 150_000
CANDIDATES = 4  # responses a question
SENTENCE_TOKENS = 21.0  # mean
REFERENCE_ROWS = 500  # of the evaluation set whose text is planted
OVERLAP_NGRAM = 13


@dataclass(frozen=True)
class Ragged:
    """Rows of one type, one after the other: row i is ``values[offsets[i]:offsets[i + 1]]``."""

    values: npt.NDArray[Any]
    offsets: Ints

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def row(self, number: int) -> npt.NDArray[Any]:
        """A view of one row."""
        return self.values[self.offsets[number] : self.offsets[number + 1]]

    def series(self) -> pl.Series:
        """The same memory as a polars list column."""
        lists = pa.LargeListArray.from_arrays(pa.array(self.offsets), pa.array(self.values))
        return pl.Series(lists)


@dataclass(frozen=True)
class Planted:
    """What was planted in the tokens, and where."""

    near_pairs: Ints  # [P, 2] row numbers
    near_jaccard: npt.NDArray[np.float64]  # [P] realised, of the sets of 5-grams
    first_equal: Ints  # [N] first row with the same tokens
    loop_rows: Ints  # [L]
    loop_periods: Ints  # [L] tokens
    contaminated_rows: Ints  # [C]
    contaminated_share: npt.NDArray[np.float64]  # [C] of the row's 13-grams


@dataclass(frozen=True)
class Corpus:
    """N responses: T teacher tokens, U student tokens and S sentences, all ragged."""

    questions: Ints  # [N]
    tokens: Ragged  # [N, T] token ids of the teacher
    teacher_logprobs: Ragged  # [N, T]
    teacher_token_ends: Ragged  # [N, T] bytes
    student_logprobs: Ragged  # [N, U]
    student_token_ends: Ragged  # [N, U] bytes
    sentence_ends: Ragged  # [N, S] bytes
    reference: Ragged  # [R, .] token ids of the evaluation set
    planted: Planted

    def score_columns(self) -> tuple[pl.Series, pl.Series, pl.Series, pl.Series, pl.Series]:
        """What ``kernels.compare_sentences`` takes, in its order."""
        return (
            self.teacher_logprobs.series(),
            self.teacher_token_ends.series(),
            self.student_logprobs.series(),
            self.student_token_ends.series(),
            self.sentence_ends.series(),
        )


class Zipf:
    """Token ids by a Zipf law over a bounded vocabulary, drawn through a table of its quantiles."""

    def __init__(self, rng: np.random.Generator, vocabulary: int = VOCABULARY, exponent: float = 1.1) -> None:
        weights = np.arange(1, vocabulary + 1, dtype=np.float64) ** -exponent
        cumulative = np.cumsum(weights / weights.sum())
        quantiles = (np.arange(1 << 22) + 0.5) / (1 << 22)
        # The ranks are dealt out, as frequent tokens do not have the smallest ids in a real vocabulary.
        ids = rng.permutation(vocabulary).astype(np.uint32)
        self._table = ids[np.minimum(np.searchsorted(cumulative, quantiles), vocabulary - 1)]
        self._rng = rng

    def draw(self, count: int) -> Tokens:
        """That many token ids."""
        return self._table[self._rng.integers(0, 1 << 22, count, dtype=np.uint32)]


def response_lengths(rng: np.random.Generator, rows: int, mean: float) -> Ints:
    """Tokens of each response: log-normal with sigma 0.8, 32 to 65,536."""
    sigma = 0.8
    drawn = rng.lognormal(np.log(mean) - sigma**2 / 2, sigma, rows)
    return np.clip(drawn, 32, LONGEST).astype(np.int64)


def make_corpus(tokens: int, mean_length: float, seed: int, near_share: float = 0.2) -> Corpus:
    """About ``tokens`` tokens in responses of ``mean_length`` tokens on average.

    Args:
        tokens: size of the corpus.
        mean_length: tokens a response; the report's is 13,800.
        seed: everything else follows from it.
        near_share: share of the rows that are near duplicates of another one; exact duplicates, loops and
            contaminated rows are 3 % each.
    """
    rng = np.random.default_rng(seed)
    rows = max(20, round(tokens / mean_length))
    lengths = response_lengths(rng, rows, mean_length)
    order = rng.permutation(rows)
    near, few = int(rows * near_share), max(2, rows * 3 // 100)
    kinds = np.split(order, np.cumsum([near, few, few, few]))
    near_rows, equal_rows, loop_rows, contaminated_rows, plain_rows = kinds
    # A base has at most one near duplicate, so that the planted pairs are all the pairs there are.
    near_bases = rng.permutation(plain_rows)[:near]
    equal_bases = rng.choice(plain_rows, few)
    lengths[near_rows], lengths[equal_rows] = lengths[near_bases], lengths[equal_bases]

    zipf = Zipf(rng)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    responses = Ragged(zipf.draw(int(offsets[-1])), offsets)
    reference_offsets = np.concatenate([[0], np.cumsum(rng.integers(40, 300, REFERENCE_ROWS))])
    reference = Ragged(zipf.draw(int(reference_offsets[-1])), reference_offsets)

    loop_periods = np.array([_plant_loop(rng, responses.row(row)) for row in loop_rows], np.int64)
    shares = [_plant_contamination(rng, responses.row(row), reference) for row in contaminated_rows]
    for row, base in zip(equal_rows, equal_bases, strict=True):
        responses.row(row)[:] = responses.row(base)
    for row, base in zip(near_rows, near_bases, strict=True):
        responses.row(row)[:] = responses.row(base)
        similarity = rng.uniform(0.55, 0.985)
        while np.array_equal(responses.row(row), responses.row(base)):  # a token may be replaced by itself
            _edit(rng, zipf, responses.row(row), similarity)
    realised = [
        jaccard(responses.row(a), responses.row(b)) for a, b in zip(near_rows, near_bases, strict=True)
    ]

    first_equal = np.arange(rows)
    np.minimum.at(first_equal, equal_bases, equal_rows)
    first_equal[equal_rows] = first_equal[equal_bases]
    planted = Planted(
        np.column_stack([near_rows, near_bases]),
        np.array(realised),
        first_equal,
        loop_rows,
        loop_periods,
        contaminated_rows,
        np.array(shares),
    )
    questions = np.arange(rows) // CANDIDATES
    return Corpus(questions, responses, *_scores(rng, offsets), reference, planted)


def _plant_loop(rng: np.random.Generator, row: npt.NDArray[np.generic]) -> int:
    """Repeats one block until the end of the row, over up to half of it; its period."""
    period = int(rng.integers(1, max(2, min(200, len(row) // 8))))
    start = len(row) - int(rng.integers(4 * period, max(4 * period + 1, len(row) // 2)))
    # Distinct tokens: the block has no shorter period, and what stands before it does not prolong the loop.
    block = VOCABULARY + np.arange(period, dtype=np.uint32)
    row[start:] = np.resize(block, len(row) - start)
    return period


def _plant_contamination(rng: np.random.Generator, row: npt.NDArray[np.generic], reference: Ragged) -> float:
    """Puts one row of the evaluation set into the response; the share of its 13-grams that are found then."""
    fitting = np.flatnonzero(np.diff(reference.offsets) <= len(row))
    if not len(fitting):
        return 0.0
    text = reference.row(int(rng.choice(fitting)))
    start = int(rng.integers(0, len(row) - len(text) + 1))
    row[start : start + len(text)] = text
    grams = len(row) - OVERLAP_NGRAM + 1
    return (len(text) - OVERLAP_NGRAM + 1) / grams


def _edit(rng: np.random.Generator, zipf: Zipf, row: npt.NDArray[np.generic], target: float) -> None:
    """Replaces tokens, scattered or in one stretch, so that about ``target`` remains as Jaccard similarity."""
    if rng.random() < 0.5:
        # A replaced token changes the five 5-grams that hold it.
        count = max(1, round(len(row) * (1 - target) / (5 * (1 + target))))
        row[rng.choice(len(row), count, replace=False)] = zipf.draw(count)
    else:
        count = max(1, round(len(row) * (1 - target) / (1 + target)) - 4)
        start = int(rng.integers(0, len(row) - count + 1))
        row[start : start + count] = zipf.draw(count)


def _scores(rng: np.random.Generator, offsets: Ints) -> tuple[Ragged, Ragged, Ragged, Ragged, Ragged]:
    """Logprobs and token ends of teacher and student, and sentence ends; the rows are ``offsets``' rows.

    Ends are made on one line of bytes for the whole corpus and then made relative to each row.
    """
    last = offsets[1:] - 1
    width = rng.integers(1, 8, offsets[-1], dtype=np.int8)
    width[last] = 0  # the end token
    ends = np.cumsum(width, dtype=np.int64)
    # Sentences end at random tokens, and where a row's text does.
    closes = rng.random(len(ends), dtype=np.float32) < 1 / SENTENCE_TOKENS
    closes[last], closes[last - 1] = False, True
    at = np.flatnonzero(closes)
    is_last = np.zeros(len(ends), bool)
    is_last[last - 1] = True
    # Half of the ends lie one byte inside the next token, where that is wide enough to be cut.
    inside = (rng.random(len(at)) < 0.5) & ~is_last[at] & (width[np.minimum(at + 1, len(width) - 1)] > 1)
    sentence_ends = ends[at] + inside

    split = (width > 1) & (rng.random(len(ends), dtype=np.float32) < 0.1)
    kept = closes | (rng.random(len(ends), dtype=np.float32) > 0.1)
    kept[last] = True
    both = np.stack([ends - 1, ends], axis=1)
    chosen = np.stack([split, kept], axis=1)
    student_ends = both[chosen]
    student_offsets = np.concatenate([[0], np.cumsum(chosen.sum(axis=1))[last]])
    sentence_offsets = np.concatenate([[0], np.cumsum(closes)[last]])

    starts = np.concatenate([[0], ends[last][:-1]])  # first byte of each row

    def ragged(values: Ints, at_rows: Ints) -> Ragged:
        return Ragged((values - np.repeat(starts, np.diff(at_rows))).astype(np.uint32), at_rows)

    def logprobs(at_rows: Ints, mean: float) -> Ragged:
        # Each response, and each stretch of 64 tokens in it, is more or less sure: sentences then differ.
        count = int(at_rows[-1])
        sure = rng.gamma(1.0, mean, count // 64 + 1).astype(np.float32)
        drawn = rng.standard_exponential(count, dtype=np.float32)
        return Ragged(-drawn * np.repeat(sure, 64)[:count], at_rows)

    return (
        logprobs(offsets, 0.4),
        ragged(ends, offsets),
        logprobs(student_offsets, 0.6),
        ragged(student_ends, student_offsets),
        ragged(sentence_ends, sentence_offsets),
    )
