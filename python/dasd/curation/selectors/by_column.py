"""Selectors by columns of the candidates, above all Teacher sentences (divergence-aware sampling, arXiv 2601.09088)."""

from __future__ import annotations

import polars as pl
from pydantic import Field

from dasd.plugins.components import Options
from dasd.plugins.roles import Teacher

__all__ = ["ColumnSelector", "DivergenceOptions", "DivergenceSelector", "beyond_length"]


class DivergenceOptions(Options):
    """Options of the selector ``divergence``."""

    length_control: bool = Field(
        False,
        description="Rank by the Teacher sentences beyond what a straight line through (tokens, Teacher "
        "sentences) of the candidates predicts from the length.",
    )


class DivergenceSelector:
    """Most Teacher sentences: p_teacher - p_student > beta, an absolute count, so long responses gain."""

    needs_student = False

    def __init__(self, options: DivergenceOptions) -> None:
        self._length_control = options.length_control

    def rank(self, candidates: pl.DataFrame, student: Teacher | None) -> pl.Series:
        """Count of Teacher sentences, or its residual after the length."""
        del student
        if self._length_control:
            return beyond_length(candidates.get_column("teacher"), candidates.get_column("student_tokens"))
        return candidates.get_column("teacher").cast(pl.Float64)


class ColumnSelector:
    """By an expression over the columns of CANDIDATES; NaN (never picked) where it gives no number."""

    needs_student = False

    def __init__(self, rank: pl.Expr) -> None:
        self._rank = rank

    def rank(self, candidates: pl.DataFrame, student: Teacher | None) -> pl.Series:
        """What the expression gives."""
        del student
        return candidates.select(self._rank.cast(pl.Float64)).to_series()


def beyond_length(counts: pl.Series, tokens: pl.Series) -> pl.Series:
    """Residuals of ``counts`` after a least-squares line through ``tokens``; Float64, in order.

    With fewer than two lengths there is no slope, and what is left is the distance to the mean.
    """
    x, y = tokens.cast(pl.Float64), counts.cast(pl.Float64)
    if not len(x):
        return y
    centred_x, centred_y = x - x.mean(), y - y.mean()
    spread = float((centred_x * centred_x).sum())
    slope = float((centred_x * centred_y).sum()) / spread if spread > 0 else 0.0
    return centred_y - centred_x * slope
