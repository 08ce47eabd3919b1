"""Selector ``coverage``: what the student lacks, without narrowing the teacher's mixture of modes.

Ranking by Teacher sentences alone takes the mode (a style, a decomposition) that the student knows least,
question after question, and the student learns one mode of several. Here the mixture is held: the candidates
are the teacher's own draws, so a selection is to look, on average over questions, like all candidates do.
"""

from __future__ import annotations

from itertools import pairwise
from math import sqrt

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from dasd.curation.selectors.lengths import draws
from dasd.curation.selectors.ngrams import ngram_features
from dasd.plugins.components import Options
from dasd.plugins.roles import Teacher

__all__ = ["CoverageOptions", "CoverageSelector"]

Floats = npt.NDArray[np.float64]

_ROWS_AT_ONCE = 4096
_NOTHING = 1e-9
"""Share of the largest variance below which a direction is rounding."""


class CoverageOptions(Options):
    """Options of the selector ``coverage``."""

    strength: float = Field(
        0.5,
        ge=0,
        allow_inf_nan=False,
        description="How much Teacher sentences count against the mixture: each direction's mean over the selected "
        "may drift by about this many standard errors of a random selection. 0: the mixture alone; very large: "
        "as `divergence`.",
    )
    directions: int = Field(
        8,
        ge=0,
        description="Directions of wording in which the mixture is held: the largest principal components of the "
        "differences between candidates of a question. 0: none.",
    )
    hold_length: bool = Field(
        True,
        description="Hold the mean number of tokens too, so that Teacher sentences aren't bought with length.",
    )


class CoverageSelector:
    """Most Teacher sentences among selections whose mixture of wordings is that of all candidates.

    With ``y_c`` a candidate's differences from the mean of its question's candidates in the held directions
    (whitened: a random candidate's have variance 1) and ``z_c`` the same of its number of Teacher sentences,
    questions are visited in a seeded order, and each takes the candidate with the largest

        strength sqrt(Q) z_c - <S, y_c> - |y_c|^2 / 2,    S = sum of y over what is selected so far,

    Q questions with a choice. The last two terms are a step of kernel herding (Welling 2009; Chen, Welling and
    Smola 2010), which keeps S short where a random selection's grows as sqrt(Q); the first makes of it
    drift-plus-penalty (Neely 2010): S settles where another Teacher sentence is worth no further drift. Since
    every difference is from the question's own mean, what the question is about cancels out.

    A question's further candidates follow in later rounds in the same way. Matching is within the questions
    that are ranked together. Costs one pass over the texts, and a small product a candidate and round.
    """

    needs_student = False

    def __init__(self, options: CoverageOptions, seed: int) -> None:
        self._options = options
        self._seed = seed

    def rank(self, candidates: pl.DataFrame, student: Teacher | None) -> pl.Series:
        """Minus the round in which a candidate is taken: 0 for a question's first, -1 for its second."""
        del student
        # In an order that rows can't change: sums are then the same to the last bit, and ties fall alike.
        order = (
            candidates.select("question_id", "sample_id")
            .with_row_index("row")
            .with_columns(
                question=draws(candidates["question_id"], "coverage", self._seed),
                sample=draws(candidates["sample_id"], "coverage", self._seed),
            )
            .sort("question", "question_id", "sample", "sample_id")
        )
        rows = candidates[order.get_column("row").to_numpy()]
        starts = np.append(
            rows["question_id"].rle_id().is_first_distinct().arg_true().to_numpy(), rows.height
        )
        starts = starts.astype(np.int64)
        held, wanted = self._held(rows, starts), _standardised(rows["teacher"].to_numpy(), starts)
        ranks = np.empty(rows.height)
        several = int((np.diff(starts) > 1).sum())
        ranks[order.get_column("row").to_numpy()] = _herd(
            held, self._options.strength * sqrt(several) * wanted[:, 0], starts
        )
        return pl.Series("rank", ranks, dtype=pl.Float64)

    def _held(self, rows: pl.DataFrame, starts: npt.NDArray[np.int64]) -> Floats:
        """Whitened differences in what is held: shape (rows, directions and length)."""
        parts = [np.empty((rows.height, 0))]
        if self._options.directions and rows.height:
            parts.append(_principal(ngram_features(rows["text"].to_list()), starts, self._options.directions))
        if self._options.hold_length:
            parts.append(_standardised(rows["student_tokens"].to_numpy(), starts))
        found = np.concatenate(parts, axis=1)
        return _whitened(found, starts, found.shape[1])


def _herd(held: Floats, wanted: Floats, starts: npt.NDArray[np.int64]) -> Floats:
    """Minus the round in which each row is taken; rows of a question lie together."""
    fixed = wanted - (held * held).sum(axis=1) / 2
    ranks = np.zeros(len(held))
    drift = np.zeros(held.shape[1])
    open_rows = [np.arange(start, stop) for start, stop in pairwise(starts)]
    for taken in range(int(np.diff(starts).max(initial=0))):
        for question, left in enumerate(open_rows):
            if not len(left):
                continue
            best = int(np.argmax(fixed[left] - held[left] @ drift)) if len(left) > 1 else 0
            row = left[best]
            ranks[row] = -taken
            drift += held[row]
            open_rows[question] = np.delete(left, best)
    return ranks


def _centred(values: npt.NDArray[np.floating], starts: npt.NDArray[np.int64]) -> npt.NDArray[np.floating]:
    """Differences from the mean of each question's rows."""
    if not len(values):
        return values
    sizes = np.diff(starts)
    means = np.add.reduceat(values, starts[:-1], axis=0) / sizes[:, None].astype(values.dtype)
    return values - np.repeat(means, sizes, axis=0)


def _principal(features: npt.NDArray[np.float32], starts: npt.NDArray[np.int64], count: int) -> Floats:
    """The differences within questions along their ``count`` principal directions."""
    return _whitened(_centred(features, starts), starts, count)


def _whitened(centred: npt.NDArray[np.floating], starts: npt.NDArray[np.int64], count: int) -> Floats:
    """``centred`` along at most ``count`` principal directions, each with variance 1 for a random candidate."""
    sizes = np.diff(starts)
    several = max(1, int((sizes > 1).sum()))
    # Each question counts alike, as each gives one response.
    scales = 1 / np.sqrt(np.repeat(sizes, sizes) * several)[:, None]
    covariance = np.zeros((centred.shape[1], centred.shape[1]))
    # In double precision, so that another number of threads rounds what no pick hangs on; in parts, for the memory.
    for start in range(0, len(centred), _ROWS_AT_ONCE):
        part = centred[start : start + _ROWS_AT_ONCE] * scales[start : start + _ROWS_AT_ONCE]
        covariance += part.T @ part
    variances, vectors = np.linalg.eigh(covariance)
    kept = np.flatnonzero(variances > max(variances.max(initial=0.0), 1e-12) * _NOTHING)[::-1][:count]
    return np.asarray(centred @ (vectors[:, kept] / np.sqrt(variances[kept])), dtype=np.float64)


def _standardised(values: npt.NDArray[np.integer], starts: npt.NDArray[np.int64]) -> Floats:
    """Differences of one number from its question's mean, shape (rows, 1), with variance 1 or all zero."""
    centred = np.asarray(_centred(values.astype(np.float64)[:, None], starts), dtype=np.float64)
    sizes = np.diff(starts)
    several = max(1, int((sizes > 1).sum()))
    variance = float((centred[:, 0] ** 2 / np.repeat(sizes, sizes)).sum()) / several
    return centred / sqrt(variance) if variance > 0 else centred
