"""One response as sentences with their text: what the page and ``dasd inspect`` show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from dasd.results.report.numbers import finite

__all__ = ["LETTERS", "Grade", "SentenceView", "illustrative", "sentence_views"]

Grade = Callable[[pl.DataFrame], pl.Series]
"""Rows with question_id and text to nullable Booleans: right, wrong, or nobody knows."""
LETTERS = {"teacher": "T", "student": "S", "common": "C", "shared": "=", "boosted": "B"}
"""One character a kind, where there is no colour."""


@dataclass(frozen=True, slots=True)
class SentenceView:
    """A sentence of a response; probabilities are None where they are not finite or not known."""

    number: int
    """From 1."""
    text: str
    kind: str
    p_teacher: float | None
    p_student: float | None
    p_distilled: float | None

    @property
    def delta(self) -> float | None:
        """p_teacher - p_student."""
        if self.p_teacher is None or self.p_student is None:
            return None
        return self.p_teacher - self.p_student

    @property
    def letter(self) -> str:
        """The kind in one character."""
        return LETTERS.get(self.kind, "?")


def sentence_views(text: str, sentences: pl.DataFrame) -> list[SentenceView]:
    """Sentences of ``text`` in order. ``sentences``: the response's SENTENCES rows, in bytes of ``text``."""
    raw = text.encode()
    return [
        SentenceView(
            number=row["sentence"] + 1,
            text=raw[row["start"] : row["end"]].decode(errors="replace"),
            kind=row["kind"],
            p_teacher=finite(row["p_teacher"]),
            p_student=finite(row["p_student"]),
            p_distilled=finite(row["p_distilled"]),
        )
        for row in sentences.sort("sentence").iter_rows(named=True)
    ]


def illustrative(sentences: pl.DataFrame, preferred: Sequence[str] = ()) -> str | None:
    """The sample_id of the response that shows most: several kinds, of a length that fits a page.

    ``preferred`` go first (right answers, say). The same rows give the same response.
    """
    if not sentences.height:
        return None
    ranked = (
        sentences.group_by("sample_id")
        .agg(
            length=pl.len(),
            kinds=pl.col("kind").n_unique(),
            rarer=1 - pl.col("kind").value_counts().struct.field("count").max() / pl.len(),
        )
        .with_columns(
            fits=pl.col("length").is_between(4, 40),
            first=pl.col("sample_id").is_in(list(preferred)),
        )
        .sort("fits", "first", "kinds", "rarer", "length", "sample_id", descending=[True] * 5 + [False])
    )
    return str(ranked["sample_id"][0])
