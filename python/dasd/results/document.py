"""Scores and comparisons as JSON values; docs/scores.md lists the keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from dasd.results.records import Compared, Evaluation

__all__ = ["FORMAT", "comparison_document", "scores_document"]

FORMAT = 1
LEVEL = 0.95


def scores_document(
    evaluations: Sequence[Evaluation], table: pl.DataFrame, draws: int | None, seed: int
) -> dict[str, Any]:
    """Checkpoints and RESULTS rows. ``draws``: of the bootstrap; None: Wilson intervals, t for lengths."""
    return {
        "format": FORMAT,
        "interval": {"method": "wilson" if draws is None else "bootstrap", "level": LEVEL, "draws": draws},
        "seed": seed,
        "checkpoints": [_checkpoint(evaluation) for evaluation in evaluations],
        "scores": _records(table),
    }


def comparison_document(compared: Compared, draws: int, seed: int) -> dict[str, Any]:
    """Both sides and COMPARISONS rows. ``draws``: of the sign-flip test, where it isn't exact."""
    return {
        "format": FORMAT,
        "level": LEVEL,
        "draws": draws,
        "seed": seed,
        "adjusted": "holm",
        "first": _checkpoint(compared.first),
        "second": _checkpoint(compared.second),
        "notes": list(compared.notes),
        "comparisons": _records(compared.rows),
    }


def _checkpoint(evaluation: Evaluation) -> dict[str, Any]:
    origin = evaluation.origin
    ungradable = evaluation.attempts.filter(pl.col("correct").is_null())
    return {
        "checkpoint": evaluation.checkpoint,
        "source": origin.source,
        "run": origin.name,
        "stage": origin.stage,
        "model": origin.model,
        "finished": origin.finished.isoformat(),
        "benchmarks": evaluation.benchmarks,
        "questions": evaluation.attempts.n_unique(("benchmark", "question_id")),
        "questions_without_grade": ungradable.n_unique(("benchmark", "question_id")),
        "attempts": evaluation.attempts.height,
        "ungraded": [{"reason": item.reason, "answers": item.answers} for item in evaluation.ungraded],
    }


def _records(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON objects; what is no finite number becomes null."""
    floats = pl.col(pl.Float64)
    return rows.with_columns(pl.when(floats.is_finite()).then(floats)).to_dicts()
