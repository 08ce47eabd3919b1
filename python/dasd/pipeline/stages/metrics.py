"""Metrics with standard errors over questions, from answers and held-out responses."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from dasd.base.frames import GRADABLE
from dasd.base.schemas import METRICS
from dasd.evaluation.statistics import mean_over_questions

__all__ = ["answer_metrics", "kl_metrics", "metrics_frame", "metrics_words", "teacher_metrics"]

HELDOUT = "heldout"
"""Benchmark name of the figures over held-out responses of the teacher."""

LINES = 5
"""Most lines of ``metrics_words``."""


def metrics_frame(
    rows: pl.DataFrame, checkpoint: str, benchmark: str, metric: str, by: str | None = "question_id"
) -> pl.DataFrame:
    """METRICS rows: the mean of column ``value`` and its standard error, over all rows and by domain.

    ``rows``: value (Float64), domain, and ``by``, the unit that the error is over: attempts at a question are
    averaged first, as they aren't independent. The error is the standard deviation over the units divided by
    the root of their number; null for a single one. Rows with a null value are left out.
    """
    known = rows.filter(pl.col("value").is_not_null())
    if by is not None:
        known = known.group_by(by, "domain", maintain_order=True).agg(pl.col("value").mean())
    domains = known.get_column("domain").unique().sort().to_list()
    groups = [("all", known)]
    if len(domains) > 1:
        groups += [(domain, known.filter(pl.col("domain") == domain)) for domain in domains]
    made = [
        (
            checkpoint,
            benchmark,
            metric,
            group,
            *mean_over_questions(members.get_column("value")),
            members.height,
        )
        for group, members in groups
        if members.height
    ]
    return pl.DataFrame(made, schema=dict(METRICS.columns), orient="row")


def answer_metrics(answers: pl.DataFrame, questions: pl.DataFrame, checkpoint: str) -> pl.DataFrame:
    """Accuracy (avg@k), length and cut-off rate by benchmark.

    ``answers``: EVAL rows; ``questions``: QUESTIONS rows. Questions without answer or verifier have no part
    in the accuracy.
    """
    rows = answers.join(
        questions.select("question_id", "domain", graded=GRADABLE), on="question_id", maintain_order="left"
    )
    values = {
        "accuracy": pl.when("graded").then(pl.col("correct").cast(pl.Float64)),
        "length_tokens": pl.col("tokens").cast(pl.Float64),
        "cut_off_rate": (pl.col("finish_reason") != "stop").cast(pl.Float64),
    }
    return pl.concat(
        [METRICS.empty()]
        + [
            metrics_frame(part.with_columns(value=value), checkpoint, part["benchmark"][0], metric)
            for part in rows.partition_by("benchmark", maintain_order=True)
            for metric, value in values.items()
        ]
    )


def kl_metrics(heldout: pl.DataFrame, scores: pl.DataFrame, checkpoint: str) -> pl.DataFrame:
    """Sequence-level KL( teacher || student ) in nats a response, estimated on the teacher's own responses.

    The mean over responses y ~ p_T of log p_T(y|x) - log p_S(y|x); its error is over responses. Models
    of one tokenizer score the same tokens; otherwise each scores its own tokenisation, and the true probability
    of a text sums over all of them, a bias that both sides carry. Truncated responses count with the part that was
    written. ``heldout``: SAMPLES rows and domain, with raw log-probabilities at temperature 1; ``scores``: SCORES rows
    of the same samples.
    """
    rows = heldout.select(
        "sample_id", "domain", teacher=pl.col("logprobs").list.eval(pl.element().cast(pl.Float64)).list.sum()
    ).join(
        scores.select(
            "sample_id", student=pl.col("logprobs").list.eval(pl.element().cast(pl.Float64)).list.sum()
        ),
        on="sample_id",
        maintain_order="left",
    )
    values = rows.with_columns(value=pl.col("teacher") - pl.col("student"))
    return metrics_frame(values, checkpoint, HELDOUT, "kl_nats_per_response", by=None)


def teacher_metrics(heldout: pl.DataFrame, scores: pl.DataFrame, correct: pl.Series) -> pl.DataFrame:
    """The teacher's own accuracy, length (in the student's tokens) and cut-off rate, by benchmark.

    ``heldout``: SAMPLES rows, with domain and source of the question; ``correct``: nullable booleans.
    """
    rows = heldout.with_columns(correct=correct).join(
        scores.select("sample_id", tokens=pl.col("token_ids").list.len()),
        on="sample_id",
        maintain_order="left",
    )
    values = {
        "accuracy": pl.col("correct").cast(pl.Float64),
        "length_tokens": pl.col("tokens").cast(pl.Float64),
        "cut_off_rate": (pl.col("finish_reason") != "stop").cast(pl.Float64),
    }
    return pl.concat(
        [METRICS.empty()]
        + [
            metrics_frame(part.with_columns(value=value), "teacher", part["source"][0], metric)
            for part in rows.partition_by("source", maintain_order=True)
            for metric, value in values.items()
        ]
    )


def metrics_words(metrics: pl.DataFrame) -> list[str]:
    """METRICS rows over all domains in at most ``LINES`` lines: one a benchmark and checkpoint, and one for the KL."""
    rows = metrics.filter(pl.col("group") == "all")
    pairs = rows.select("checkpoint", "benchmark").unique(maintain_order=True)
    lines = []
    for checkpoint, benchmark in pairs.iter_rows():
        found = {
            metric: (value, error)
            for metric, value, error in rows.filter(checkpoint=checkpoint, benchmark=benchmark)
            .select("metric", "value", "standard_error")
            .iter_rows()
        }
        parts = [words(*found[metric]) for metric, words in _WORDS.items() if metric in found]
        place = "KL to the teacher" if benchmark == HELDOUT else f"{checkpoint} on {benchmark}"
        lines.append(f"{place}: {', '.join(parts)}")
    if len(lines) > LINES:
        return [*lines[: LINES - 1], f"and {len(lines) - LINES + 1} more lines: --verbose, or the report"]
    return lines


def _with_error(value: float, error: float | None, decimals: int) -> str:
    return f"{value:.{decimals}f}" + ("" if error is None else f" ± {error:.{decimals}f}")


_WORDS: dict[str, Callable[[float, float | None], str]] = {
    "accuracy": lambda value, error: f"accuracy {_with_error(value, error, 3)}",
    "length_tokens": lambda value, error: f"{_with_error(value, error, 1)} tokens",
    "cut_off_rate": lambda value, error: f"{_with_error(value, error, 3)} cut off",
    "kl_nats_per_response": lambda value, error: f"{_with_error(value, error, 2)} nats a response",
}
