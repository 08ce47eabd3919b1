"""One row a response of a finished probe run, with all that is measured of it."""

from __future__ import annotations

import polars as pl

from dasd.probe.records import RESPONSES
from dasd.reading import Reading
from dasd.stages.candidates import compared
from dasd.stages.grading import Grader, answers_by_question
from dasd.store import Run

__all__ = ["read_responses", "same_tokens"]


def read_responses(run: Run, stage: str, beta: float, grader: Grader) -> pl.DataFrame:
    """RESPONSES rows of the stages of ``stage``, in the order of the samples.

    Every response is graded where its question has a verifier, dropped ones too. Probabilities and losses that are
    not finite are null. Raises InputError if a stage isn't finished.
    """
    samples = run.frame("samples", f"sample-{stage}").collect()
    answers = answers_by_question(run.frame("questions", "questions"))
    correct = grader.correct_rows(samples.select("question_id", "text").iter_rows(), answers)
    rows = samples.select(
        "question_id",
        "sample_id",
        "text",
        benchmark=pl.lit("probe"),
        attempt="candidate",
        tokens=pl.col("token_ids").list.len().cast(pl.UInt32),
        p_teacher=_finite(pl.col("logprobs").list.mean().cast(pl.Float64).exp()),
        correct=correct,
    )
    reasons = _reasons(run, stage)
    reading = Reading.of(run.settings.teacher, run.settings.student)
    scored = _scored(reading.shared(samples), run.frame("scores", f"score-{stage}").collect(), beta)
    return (
        rows.join(reasons, on="sample_id", how="left", maintain_order="left")
        .join(scored, on="sample_id", how="left", maintain_order="left")
        .with_columns(kept=pl.col("reason").is_null(), reason=pl.col("reason").fill_null(""))
        .select(list(RESPONSES.columns))
    )


def same_tokens(run: Run, stage: str) -> bool:
    """Whether the student reads the teacher's responses in the teacher's own tokens."""
    samples = run.frame("samples", f"sample-{stage}").select(
        "sample_id", "text", "finish_reason", "token_ids", "token_ends"
    )
    reading = Reading.of(run.settings.teacher, run.settings.student)
    scores = run.frame("scores", f"score-{stage}").select("sample_id", student_ids="token_ids")
    both = reading.shared(samples.collect()).lazy().join(scores, on="sample_id")
    return bool(both.select((pl.col("token_ids") == pl.col("student_ids")).all()).collect().item())


def _reasons(run: Run, stage: str) -> pl.DataFrame:
    """sample_id and reason of what filters and deduplication dropped."""
    frames = [
        run.frame("verdicts", f"{step}-{stage}").filter(~pl.col("kept")).select("sample_id", "reason")
        for step in ("filter", "dedup")
    ]
    return pl.concat(frames).collect()


def _scored(samples: pl.DataFrame, scores: pl.DataFrame, beta: float) -> pl.DataFrame:
    """sample_id and the student's columns of RESPONSES, for what the student has scored."""
    kept = samples.join(scores, on="sample_id", how="semi", maintain_order="left")
    scores = kept.select("sample_id").join(scores, on="sample_id", how="left", maintain_order="left")
    found = compared(kept, scores, beta)
    known = pl.col("p_teacher").list.eval(pl.element().is_not_nan()).list.all()
    shares = found.select(
        "sample_id",
        teacher_share=pl.when(known).then(_finite(pl.col("teacher") / pl.col("ends").list.len())),
    )
    return scores.select(
        "sample_id",
        p_student=_finite(pl.col("logprobs").list.mean().cast(pl.Float64).exp()),
        nats_per_token=_finite(-pl.col("logprobs").list.mean().cast(pl.Float64)),
        nats_per_response=_finite(-pl.col("logprobs").list.sum().cast(pl.Float64)),
    ).join(shares, on="sample_id", how="left", maintain_order="left")


def _finite(value: pl.Expr) -> pl.Expr:
    return pl.when(value.is_finite()).then(value)
