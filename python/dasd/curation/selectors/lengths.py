"""Selectors that draw: controls for the divergence."""

from __future__ import annotations

import polars as pl

from dasd.base.seeds import uniform
from dasd.plugins.roles import Teacher

__all__ = ["LengthMatchedSelector", "RandomSelector", "draws"]


class RandomSelector:
    """A draw for each candidate from the seed and its sample_id: the same whoever its neighbours are."""

    needs_student = False

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def rank(self, candidates: pl.DataFrame, student: Teacher | None) -> pl.Series:
        """A number in [0, 1) for each candidate."""
        del student
        return draws(candidates.get_column("sample_id"), "random", self._seed)


class LengthMatchedSelector:
    """Random, but as long as what ``divergence`` would pick: its control for length.

    For every question, the rank by length of divergence's pick among the candidates is found (0 the
    shortest); these ranks are then dealt out at random among the questions with as many candidates, and each
    question's candidate with the rank that it was dealt is picked. So lengths are distributed as under
    divergence, while what a question's Teacher sentences say has no part. A question without another of as
    many candidates keeps its own rank.
    """

    needs_student = False

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def rank(self, candidates: pl.DataFrame, student: Teacher | None) -> pl.Series:
        """Minus the distance between a candidate's rank by length and the rank dealt; draws break ties."""
        del student
        rows = (
            candidates.select("question_id", "student_tokens", "teacher")
            .with_row_index("row")
            .with_columns(
                draw=draws(candidates.get_column("sample_id"), "length-matched", self._seed),
                by_length=(pl.struct("student_tokens", "row").rank("ordinal").over("question_id") - 1).cast(
                    pl.Int64
                ),
            )
        )
        picks = (
            rows.sort("teacher", "row", descending=[True, False])
            .group_by("question_id", maintain_order=True)
            .agg(pl.col("by_length").first(), size=pl.len(), first=pl.col("row").min())
            .sort("first")
        )
        shuffled = picks.select("question_id", "size").with_columns(
            deal=draws(picks.get_column("question_id"), "deal", self._seed)
        )
        # Both sides are ordered within a size: one by question, one by chance; side by side they pair up.
        dealt = (
            shuffled.sort("size", "deal")
            .select("question_id")
            .with_columns(picks.sort("size", maintain_order=True).get_column("by_length").alias("dealt"))
        )
        joined = rows.join(dealt, on="question_id", how="left", maintain_order="left")
        distance = (joined.get_column("by_length") - joined.get_column("dealt")).abs().cast(pl.Float64)
        return joined.get_column("draw") / 2 - distance


def draws(identifiers: pl.Series, *parts: object) -> pl.Series:
    """A number in [0, 1) for each identifier, Float64."""
    values = [uniform(*parts, identifier) for identifier in identifiers]
    return pl.Series("draw", values, dtype=pl.Float64)
