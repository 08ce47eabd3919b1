"""Candidates of a question as selectors see them, and their sentences under both models."""

from __future__ import annotations

import polars as pl

from dasd import kernels
from dasd.api import CANDIDATES
from dasd.errors import StoreError
from dasd.schemas import SENTENCES

__all__ = ["candidates_frame", "kinds", "sentences_frame"]

_ENDS = pl.List(pl.UInt32)
_PROBABILITIES = pl.List(pl.Float32)


def sentence_probabilities(samples: pl.DataFrame, scores: pl.DataFrame) -> pl.DataFrame:
    """Sentences of each response with their probabilities under the teacher and the student.

    ``samples`` and ``scores`` hold the same sample_ids in the same order. A model's sentence takes the tokens
    that cover it, each model its own. Columns: sample_id, ends (bytes), p_teacher and p_student (lists;
    p_teacher is NaN throughout where the samples carry no log-probabilities).
    """
    if samples.get_column("sample_id").to_list() != scores.get_column("sample_id").to_list():
        raise StoreError("scores don't belong to the samples that are left; run stage score again")
    ends = kernels.sentence_ends(samples.get_column("text"))
    p_teacher = kernels.sentence_probabilities(
        samples.get_column("logprobs"), samples.get_column("token_ends"), ends
    )
    p_student = kernels.sentence_probabilities(
        scores.get_column("logprobs"), scores.get_column("token_ends"), ends
    )
    unknown = p_student.list.eval(pl.lit(float("nan"), pl.Float32).repeat_by(pl.len()).explode())
    return pl.DataFrame(
        {
            "sample_id": samples.get_column("sample_id"),
            "ends": ends.cast(_ENDS),
            "p_teacher": p_teacher.cast(_PROBABILITIES),
            "p_student": p_student.cast(_PROBABILITIES),
        }
    ).with_columns(pl.col("p_teacher").fill_null(unknown))


def candidates_frame(
    samples: pl.DataFrame, scores: pl.DataFrame, probabilities: pl.DataFrame, beta: float
) -> pl.DataFrame:
    """CANDIDATES rows for SAMPLES rows, their SCORES and what ``sentence_probabilities`` made of both."""
    counts = kernels.divergence(
        probabilities.get_column("p_teacher"), probabilities.get_column("p_student"), beta
    ).struct.unnest()
    return pl.DataFrame(
        {
            "sample_id": samples.get_column("sample_id"),
            "question_id": samples.get_column("question_id"),
            "candidate": samples.get_column("candidate"),
            "text": samples.get_column("text"),
            "tokens": scores.get_column("token_ids").list.len().cast(pl.UInt32),
            "sentences": probabilities.get_column("ends").list.len().cast(pl.UInt32),
            "teacher": counts.get_column("teacher"),
            "student": counts.get_column("student"),
            "common": counts.get_column("common"),
            "mean_delta": counts.get_column("mean_delta"),
            "teacher_logprob": samples.get_column("logprobs")
            .list.mean()
            .cast(pl.Float32)
            .fill_null(float("nan")),
            "student_logprob": scores.get_column("logprobs")
            .list.mean()
            .cast(pl.Float32)
            .fill_null(float("nan")),
        }
    ).select(list(CANDIDATES.columns))


def sentences_frame(probabilities: pl.DataFrame, beta: float) -> pl.DataFrame:
    """SENTENCES rows; ``p_distilled`` is null until a distilled model has scored."""
    starts = pl.concat_list(pl.lit(0, pl.UInt32), pl.col("ends").list.head(pl.col("ends").list.len() - 1))
    number = pl.int_ranges(pl.col("ends").list.len(), dtype=pl.UInt32)
    return (
        probabilities.filter(pl.col("ends").list.len() > 0)
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
