"""Which training questions are set aside before anything is sampled, and why.

A question that is another's repeat, or a benchmark's, would be paid for at every temperature for nothing, or worse.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping

import polars as pl

from dasd.schemas import SET_ASIDE
from dasd.settings import DedupSettings
from dasd.stages.decontamination import contamination
from dasd.stages.repeats import near_repeats

__all__ = ["Sieve", "contents", "distinct", "without_repeats"]


class Sieve:
    """Takes rows out of frames of questions and keeps them with the reason."""

    def __init__(self) -> None:
        self._aside: list[pl.DataFrame] = []

    def take(self, rows: pl.DataFrame, reason: str, details: Mapping[int, str]) -> pl.DataFrame:
        """The rows without those that ``details`` tells of, by their number."""
        if not details:
            return rows
        gone = pl.int_range(pl.len()).is_in(list(details))
        told = pl.Series([details[row] for row in sorted(details)], dtype=pl.String)
        aside = rows.filter(gone).with_columns(reason=pl.lit(reason), detail=told)
        self._aside.append(aside.select(list(SET_ASIDE.columns)))
        return rows.filter(~gone)

    @property
    def rows(self) -> pl.DataFrame:
        """SET_ASIDE of all that was taken out."""
        return pl.concat([SET_ASIDE.empty(), *self._aside])

    def counts(self, split: str | None = None) -> dict[str, int]:
        """Questions by reason, of one split or of both."""
        rows = self.rows if split is None else self.rows.filter(pl.col("split") == split)
        return dict(Counter(rows.get_column("reason")))


def distinct(rows: pl.DataFrame, within: str, sieve: Sieve) -> pl.DataFrame:
    """One split's questions, each conversation once for each value of ``within``."""
    first: dict[tuple[str, str], int] = {}
    again: dict[int, str] = {}
    for row, key in enumerate(zip(rows.get_column(within), contents(rows), strict=True)):
        if (earlier := first.setdefault(key, row)) != row:
            again[row] = f"the same as {_named(rows, earlier)}"
    return sieve.take(rows, "exact_duplicate", again)


def without_repeats(
    train: pl.DataFrame,
    evaluation: pl.DataFrame,
    benchmarks: pl.DataFrame,
    settings: DedupSettings,
    sieve: Sieve,
) -> pl.DataFrame:
    """The training questions that neither are a benchmark's nor say nearly what an earlier one says.

    ``benchmarks``: see ``decontamination.benchmark_questions``.
    """
    asked = dict(zip(contents(evaluation), range(evaluation.height), strict=True))
    shared = {row: asked[content] for row, content in enumerate(contents(train)) if content in asked}
    train = sieve.take(
        train,
        "evaluation_question",
        {
            row: f"the same as {_named(evaluation, at)} of {evaluation['source'][at]}"
            for row, at in shared.items()
        },
    )
    found = contamination(train, benchmarks, settings)
    ngram = settings.contamination_ngram
    train = sieve.take(
        train,
        "contaminated",
        {
            row: f"{overlap.share:.0%} of its {ngram}-grams are in benchmark questions, {overlap.question_share:.0%} "
            f"in question {overlap.question_id} of {overlap.benchmark}"
            for row, overlap in found.items()
        },
    )
    if settings.near_questions is None:
        return train
    repeats = near_repeats(train, settings.near_questions, settings.ngram)
    return sieve.take(
        train,
        "near_duplicate",
        {each.row: f"{each.similarity:.0%} like {_named(train, each.of)}" for each in repeats},
    )


def contents(questions: pl.DataFrame) -> list[str]:
    """One text a conversation, to compare whole conversations."""
    return [json.dumps(list(cell)) for cell in questions.get_column("messages")]


def _named(rows: pl.DataFrame, row: int) -> str:
    identifier, place = rows["question_id"][row], rows["place"][row]
    return f"question {identifier} ({place})" if place else f"question {identifier}"
