"""Candidates of a question as selectors see them, and their sentences under both models."""

from __future__ import annotations

import polars as pl

from dasd import kernels
from dasd.base.schemas import CANDIDATES, SENTENCES
from dasd.errors import StoreError

__all__ = ["candidates_frame", "compared", "kinds", "sentences_frame"]


def compared(samples: pl.DataFrame, scores: pl.DataFrame, beta: float) -> pl.DataFrame:
    """Sentences of each response with their probabilities under the teacher and the student, and their counts.

    ``samples`` and ``scores`` hold the same sample_ids in the same order. A model's sentence takes the tokens
    that cover it, each model its own. Columns: sample_id, ends (bytes), p_teacher and p_student (lists;
    p_teacher is NaN throughout where the samples carry no log-probabilities), teacher, student, common (u32)
    and mean_delta.
    """
    if not samples.get_column("sample_id").equals(scores.get_column("sample_id")):
        raise StoreError("scores don't belong to the samples that are left; run stage score again")
    ends = kernels.sentence_ends(samples.get_column("text"))
    found = kernels.compare_sentences(
        samples.get_column("logprobs"),
        samples.get_column("token_ends"),
        scores.get_column("logprobs"),
        scores.get_column("token_ends"),
        ends,
        beta,
    )
    found = found.select(samples.get_column("sample_id"), ends.alias("ends"), *found.columns)
    if not found.get_column("p_teacher").null_count():
        return found
    unknown = pl.col("p_student").list.eval(pl.lit(float("nan"), pl.Float32).repeat_by(pl.len()).explode())
    return found.with_columns(
        pl.col("p_teacher").fill_null(unknown), pl.col("teacher", "student", "common").fill_null(0)
    )


def candidates_frame(samples: pl.DataFrame, scores: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
    """CANDIDATES rows for SAMPLES rows, their SCORES and what ``compared`` found in both."""
    return pl.DataFrame(
        {
            "sample_id": samples.get_column("sample_id"),
            "question_id": samples.get_column("question_id"),
            "candidate": samples.get_column("candidate"),
            "text": samples.get_column("text"),
            "teacher_tokens": samples.get_column("token_ends").list.len().cast(pl.UInt32),
            "student_tokens": scores.get_column("logprobs").list.len().cast(pl.UInt32),
            "sentences": found.get_column("ends").list.len().cast(pl.UInt32),
            "teacher": found.get_column("teacher"),
            "student": found.get_column("student"),
            "common": found.get_column("common"),
            "mean_delta": found.get_column("mean_delta"),
            "teacher_mean_logprob": _mean_logprob(samples),
            "student_mean_logprob": _mean_logprob(scores),
        }
    ).select(list(CANDIDATES.columns))


def _mean_logprob(rows: pl.DataFrame) -> pl.Series:
    return rows.get_column("logprobs").list.mean().cast(pl.Float32).fill_null(float("nan"))


def sentences_frame(found: pl.DataFrame, beta: float) -> pl.DataFrame:
    """SENTENCES rows; ``p_distilled`` is null until a distilled model has scored."""
    starts = pl.concat_list(pl.lit(0, pl.UInt32), pl.col("ends").list.head(pl.col("ends").list.len() - 1))
    number = pl.int_ranges(pl.col("ends").list.len(), dtype=pl.UInt32)
    return (
        found.filter(pl.col("ends").list.len() > 0)
        .select("sample_id", "p_teacher", "p_student", sentence=number, start=starts, end="ends")
        .explode("p_teacher", "p_student", "sentence", "start", "end")
        .with_columns(p_distilled=pl.lit(None, pl.Float32), kind=kinds("p_teacher", "p_student", beta))
        .select(list(SENTENCES.columns))
    )


def kinds(p_teacher: str, p_student: str, beta: float) -> pl.Expr:
    """``teacher``, ``student`` or ``common`` by the difference in double precision, as the kernel counts."""
    delta = pl.col(p_teacher).cast(pl.Float64) - pl.col(p_student).cast(pl.Float64)
    known = delta.is_finite()
    return (
        pl.when(known & (delta > beta))
        .then(pl.lit("teacher"))
        .when(known & (delta < -beta))
        .then(pl.lit("student"))
        .otherwise(pl.lit("common"))
    )
