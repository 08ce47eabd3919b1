"""Every score of EVAL rows as one table."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from dasd.base.schemas import Schema
from dasd.evaluation.statistics.estimate import Estimate, t_interval
from dasd.evaluation.statistics.scores import average, length, majority_at, pass_at, truncation_rate
from dasd.evaluation.statistics.share_intervals import share_interval

__all__ = ["SUMMARY", "summary"]

SUMMARY = Schema(
    "summary",
    {
        "benchmark": pl.String,
        "metric": pl.String,
        "value": pl.Float64,
        "standard_error": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "questions": pl.UInt32,
        "attempts": pl.UInt32,
    },
    frozenset({"standard_error", "low", "high"}),
)
"""One row a score; ``low`` and ``high``: the 95 % interval, of shares by ``share_interval``, of lengths by t."""


def summary(rows: pl.DataFrame, ks: Sequence[int] | None = None, seed: int = 0) -> pl.DataFrame:
    """SUMMARY rows of EVAL rows of one checkpoint: by benchmark avg@k, pass@k, majority@k, length, truncation.

    ``ks``: the k of pass@k and majority@k; None: 1, and as many as every question of the benchmark has. A k that a
    benchmark hasn't as many attempts for is left out. ``avg@k`` is named for the most attempts a question has.
    """
    made: list[tuple[object, ...]] = []
    for part in rows.partition_by("benchmark", maintain_order=True):
        graded = part.filter(pl.col("correct").is_not_null())
        benchmark = part["benchmark"][0]
        if graded.height:
            counts = graded.group_by("question_id").len().get_column("len")
            fewest, most = int(counts.min()), int(counts.max())  # type: ignore[arg-type]
            made.append(_row(benchmark, f"avg@{most}", average(graded)))
            for k in sorted({1, fewest} if ks is None else set(ks)):
                if k <= fewest:
                    made.append(_row(benchmark, f"pass@{k}", pass_at(graded, k)))
                    made.append(_row(benchmark, f"majority@{k}", majority_at(graded, k, seed)))
        made.append(_row(benchmark, "length_tokens", length(part)))
        made.append(_row(benchmark, "truncation_rate", truncation_rate(part)))
    return pl.DataFrame(made, schema=dict(SUMMARY.columns), orient="row")


def _row(benchmark: str, metric: str, score: Estimate) -> tuple[object, ...]:
    interval = t_interval(score) if metric == "length_tokens" else share_interval(score)
    ends = (None, None) if interval is None else (interval.low, interval.high)
    return (benchmark, metric, score.value, score.standard_error, *ends, score.questions, score.attempts)
