"""Small things that several rooms do with frames of rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import polars as pl

from dasd.base.id_set import IdSet
from dasd.base.records import Message


def count_rows(frame: pl.LazyFrame) -> int:
    """Number of rows, without reading them."""
    return int(frame.select(pl.len()).collect().item())


def kept_samples(verdicts: pl.LazyFrame) -> pl.LazyFrame:
    """The sample_ids that a stage kept."""
    return verdicts.filter(pl.col("kept")).select("sample_id")


def kept_set(verdicts: pl.LazyFrame) -> IdSet:
    """The same, in little memory."""
    return IdSet(rows.to_series() for rows in kept_samples(verdicts).collect_batches())


def only(rows: pl.DataFrame, sample_ids: Collection[str] | IdSet) -> pl.DataFrame:
    """The rows of these samples; costs by the rows, not by the ids, which may be a whole run's."""
    if isinstance(sample_ids, IdSet):
        return rows.filter(sample_ids.mask(rows["sample_id"]))
    return rows.filter(pl.Series([item in sample_ids for item in rows["sample_id"]], dtype=pl.Boolean))


def messages_of(cell: Iterable[dict[str, str]]) -> tuple[Message, ...]:
    """Messages from a cell of QUESTIONS."""
    return tuple(Message(turn["role"], turn["content"]) for turn in cell)  # type: ignore[arg-type]


def messages_by_question(questions: pl.LazyFrame) -> dict[str, tuple[Message, ...]]:
    """The conversation of each question_id."""
    rows = questions.select("question_id", "messages").collect().iter_rows()
    return {question: messages_of(cell) for question, cell in rows}


GRADABLE = pl.col("answer").is_not_null() & pl.col("verifier").is_not_null()
"""Of QUESTIONS rows: whether an answer to the question can be right or wrong."""
