"""The third probability: sentences under the distilled model, and the kinds that need it.

Order of the tests (arXiv 2512.20908): Shared if all three probabilities lie pairwise within alpha; Teacher,
then Student, by beta; Boosted where teacher and student agree within beta and the distilled model lies more
than alpha apart from one of them; else common, as is a sentence of which a probability isn't known.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from dasd import kernels
from dasd.base.schemas import SENTENCES
from dasd.results.report.data import DistilledFigures
from dasd.results.report.numbers import finite

__all__ = ["ALPHA", "RESPONSES", "Distilled", "distilled_figures", "distilled_sentences", "kind_of"]

ALPHA = 0.1
"""Pairwise difference of probabilities up to which a sentence is shared. No source states it: our choice."""

RESPONSES = 64
"""Responses that the final checkpoint scores for the report."""


@dataclass(frozen=True, slots=True)
class Distilled:
    """What the report's own scoring under the final checkpoint gave."""

    sentences: pl.DataFrame
    """SENTENCES rows with p_distilled, of one response or more."""
    stage: str
    checkpoint: str
    alpha: float
    beta: float


def kind_of(alpha: float, beta: float) -> pl.Expr:
    """Kind of a sentence from columns p_teacher, p_student and p_distilled (probabilities)."""
    # In double precision, as the select stage: near beta both then call a sentence the same.
    teacher, student, distilled = (
        pl.col(name).cast(pl.Float64) for name in ("p_teacher", "p_student", "p_distilled")
    )
    # Probabilities such as 0.5 and 0.4 are stored in 32 bits and miss alpha by a rounding error.
    slack = 1e-6
    delta = teacher - student
    known = delta.is_finite()  # NaN is above every number to polars
    apart_teacher, apart_student = (distilled - teacher).abs(), (distilled - student).abs()
    near = alpha + slack
    return (
        pl.when((delta.abs() <= near) & (apart_teacher <= near) & (apart_student <= near))
        .then(pl.lit("shared"))
        .when(known & (delta > beta))
        .then(pl.lit("teacher"))
        .when(known & (delta < -beta))
        .then(pl.lit("student"))
        .when(known & distilled.is_finite() & (pl.max_horizontal(apart_teacher, apart_student) > near))
        .then(pl.lit("boosted"))
        .otherwise(pl.lit("common"))
    )


def distilled_sentences(
    sentences: pl.DataFrame, scores: pl.DataFrame, alpha: float, beta: float
) -> pl.DataFrame:
    """SENTENCES rows with ``p_distilled`` and kinds by three models.

    ``sentences``: SENTENCES rows of the select stage, all sentences of each response; ``scores``: SCORES rows
    of the distilled model on the same texts. Responses without a score are left out.
    """
    ends = sentences.sort("sample_id", "sentence").group_by("sample_id", maintain_order=True).agg("end")
    both = ends.join(scores, on="sample_id", how="inner", maintain_order="left")
    probabilities = kernels.sentence_probabilities(both["logprobs"], both["token_ends"], both["end"])
    third = both.select("sample_id", pl.Series("p_distilled", probabilities)).explode("p_distilled")
    third = third.with_columns(
        sentence=(pl.col("sample_id").cum_count().over("sample_id") - 1).cast(pl.UInt32)
    )
    return (
        sentences.drop("p_distilled")
        .join(third, on=["sample_id", "sentence"], how="inner", maintain_order="left")
        .with_columns(kind=kind_of(alpha, beta))
        .select(list(SENTENCES.columns))
    )


def distilled_figures(found: Distilled) -> DistilledFigures:
    """Counts of kinds and mean probabilities."""
    counts = dict(found.sentences.group_by("kind").len().sort("kind").iter_rows())
    means = found.sentences.select(pl.col("p_teacher", "p_student", "p_distilled").fill_nan(None).mean())
    p_teacher, p_student, p_distilled = means.row(0)
    return DistilledFigures(
        stage=found.stage,
        checkpoint=found.checkpoint,
        responses=found.sentences["sample_id"].n_unique(),
        alpha=found.alpha,
        beta=found.beta,
        sentences=counts,
        mean_p_teacher=finite(p_teacher),
        mean_p_student=finite(p_student),
        mean_p_distilled=finite(p_distilled),
    )
