"""Where the sentences of the distilled student's own answers come from: right and wrong ones, along the answer.

Figures 5 and 6 of the technical report (arXiv 2601.09088). Each sentence has a probability under the teacher, under the
student before distillation and under the distilled one; its kind is that of ``report.distilled``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from dasd.base.schemas import ANSWER_SENTENCES
from dasd.base.seeds import uniform
from dasd.results.report.data import AnswerFigures, AnswerPart, OwnAnswersFigures
from dasd.results.report.numbers import finite
from dasd.results.report.series import relative_position

__all__ = [
    "MOST",
    "PARTS",
    "OwnAnswers",
    "along_answers",
    "answer_id",
    "drawn_answers",
    "own_answers_figures",
]

MOST = 32
"""Right answers, and as many wrong ones, that three models score for the report at most."""

PARTS = 10
"""Equal parts that an answer is cut into along its sentences."""

_PROBABILITIES = ("p_teacher", "p_student", "p_distilled")


@dataclass(frozen=True, slots=True)
class OwnAnswers:
    """What three models say of the student's own answers, or why they say nothing."""

    checkpoint: str = ""
    """Training stage whose model answered."""
    sentences: pl.DataFrame = field(default_factory=ANSWER_SENTENCES.empty)
    right: int = 0
    """Right answers that there were to draw from."""
    wrong: int = 0
    refused: int = 0
    """Drawn answers that one of the models couldn't score."""
    alpha: float = 0.0
    beta: float = 0.0
    why_not: str = ""
    """A sentence for the page; "" where there are sentences."""


def answer_id() -> pl.Expr:
    """What an EVAL row is called, as in the frame ``refused``: BENCHMARK/QUESTION_ID/ATTEMPT."""
    return pl.format("{}/{}/{}", "benchmark", "question_id", "attempt").alias("sample_id")


def drawn_answers(answers: pl.DataFrame, seed: int) -> pl.DataFrame:
    """At most ``MOST`` right and ``MOST`` wrong ones of these rows (sample_id, correct), drawn by ``seed``, by id."""
    lot = pl.Series(
        "lot", [uniform("answers", seed, name) for name in answers["sample_id"]], dtype=pl.Float64
    )
    place = pl.col("lot").rank("ordinal").over("correct")
    return answers.with_columns(lot).filter(place <= MOST).drop("lot").sort("sample_id")


def along_answers(sentences: pl.DataFrame) -> pl.DataFrame:
    """Mean probabilities by relative position; columns correct, part, sentences, p_teacher, p_student, p_distilled.

    ``sentences``: ANSWER_SENTENCES rows, all of each answer. What isn't finite is in no mean.
    """
    return (
        sentences.with_columns(part=relative_position(PARTS))
        .group_by("correct", "part")
        .agg(pl.len().alias("sentences"), pl.col(_PROBABILITIES).cast(pl.Float64).fill_nan(None).mean())
        .sort("correct", "part", descending=[True, False])
    )


def own_answers_figures(own: OwnAnswers) -> OwnAnswersFigures | None:
    """The same in numbers for report.json; None where nothing was scored."""
    if not own.sentences.height:
        return None
    groups = own.sentences.with_columns(part=relative_position(PARTS)).partition_by("correct", as_dict=True)
    along = along_answers(own.sentences)
    return OwnAnswersFigures(
        checkpoint=own.checkpoint,
        most=MOST,
        refused=own.refused,
        alpha=own.alpha,
        beta=own.beta,
        answers=tuple(
            AnswerFigures(
                correct=correct,
                responses=groups[correct,]["sample_id"].n_unique(),
                available=own.right if correct else own.wrong,
                sentences=_counts(groups[correct,]),
                parts=tuple(_parts(groups[correct,], along.filter(pl.col("correct") == correct))),
            )
            for correct in (True, False)
            if (correct,) in groups
        ),
    )


def _parts(sentences: pl.DataFrame, along: pl.DataFrame) -> list[AnswerPart]:
    found = []
    for row in along.iter_rows(named=True):
        counts = _counts(sentences.filter(pl.col("part") == row["part"]))
        found.append(
            AnswerPart(
                part=row["part"],
                sentences=row["sentences"],
                shares={kind: n / row["sentences"] for kind, n in counts.items()},
                mean_p_teacher=finite(row["p_teacher"]),
                mean_p_student=finite(row["p_student"]),
                mean_p_distilled=finite(row["p_distilled"]),
            )
        )
    return found


def _counts(sentences: pl.DataFrame) -> dict[str, int]:
    """Sentences by kind."""
    return dict(sentences.group_by("kind").len().sort("kind").iter_rows())
