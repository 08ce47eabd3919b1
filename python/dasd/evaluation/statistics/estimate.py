"""A mean over questions with its standard error, and the intervals around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from dasd.errors import InputError
from dasd.evaluation.statistics.student_t import t_quantile

__all__ = [
    "LEVEL",
    "Estimate",
    "Interval",
    "bootstrap",
    "mean_over_questions",
    "one_benchmark",
    "question_values",
    "t_interval",
    "t_reach",
]

LEVEL = 0.95
"""Of every interval."""
_AT_ONCE = 2_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score."""

    value: float
    standard_error: float | None
    """Over questions, attempts at one question counting as one cluster; None for a single question."""
    questions: int
    attempts: int
    """Attempts in all."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval, of LEVEL."""

    low: float
    high: float


def mean_over_questions(means: Sequence[float] | pl.Series) -> tuple[float, float | None]:
    """Mean of one value a question and its standard error: sd (n - 1) over the root of n; None for one value.

    With one mean a question this is the error clustered by question (Miller 2024, "Adding Error Bars to Evals",
    arXiv 2411.00640, section 2.2), times sqrt(n / (n - 1)) for the finite number of questions. Raises InputError
    for none.
    """
    values = np.asarray(means, dtype=np.float64)
    if not values.size:
        raise InputError("a score needs at least one question with a value; got none")
    if values.size == 1:
        return float(values[0]), None
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(values.size))


def t_reach(questions: int) -> float:
    """How many standard errors an interval by t reaches to either side."""
    return t_quantile(0.5 + LEVEL / 2, questions - 1)


def t_interval(estimate: Estimate) -> Interval | None:
    """``value`` +- t(questions - 1) * ``standard_error``; None for a single question."""
    if estimate.standard_error is None:
        return None
    reach = t_reach(estimate.questions) * estimate.standard_error
    return Interval(estimate.value - reach, estimate.value + reach)


def bootstrap(values: Sequence[float], draws: int = 10_000, seed: int = 0) -> Interval:
    """Percentile interval of the mean of one value a question, by drawing questions.

    Each question's value carries its attempts' noise, so this is the interval for other questions of the kind.
    Deviations are scaled by sqrt(n / (n - 1)), as drawing from a sample understates its variance. Raises InputError
    for fewer than two questions.
    """
    whole = np.asarray(values, dtype=np.float64)
    if whole.size < 2:
        raise InputError(f"bootstrap: wanted at least two questions to draw from, got {whole.size}")
    random = np.random.default_rng(seed)
    parts = []
    for start in range(0, draws, step := max(1, _AT_ONCE // whole.size)):
        picked = random.integers(whole.size, size=(min(step, draws - start), whole.size))
        parts.append(whole[picked].mean(axis=1))
    centre = float(whole.mean())
    low, high = np.quantile(np.concatenate(parts), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    scale = float(np.sqrt(whole.size / (whole.size - 1)))
    return Interval(centre + float(low - centre) * scale, centre + float(high - centre) * scale)


def question_values(rows: pl.DataFrame, value: pl.Expr) -> list[np.ndarray]:
    """The values of every question's attempts (Float64), questions and attempts in order; nulls left out."""
    one_benchmark(rows)
    lists = (
        rows.sort("question_id", "attempt")
        .select("question_id", value=value.cast(pl.Float64))
        .drop_nulls("value")
        .group_by("question_id", maintain_order=True)
        .agg("value")
        .get_column("value")
    )
    return [series.to_numpy() for series in lists]


def one_benchmark(rows: pl.DataFrame) -> None:
    """Raises InputError if the rows are of several benchmarks, or an attempt is there twice."""
    names = rows.get_column("benchmark").unique().sort().to_list()
    if len(names) > 1:
        raise InputError(
            f"scores are of one benchmark each; got rows of {', '.join(names)}: pass them one by one"
        )
    twice = rows.filter(pl.struct("question_id", "attempt").is_duplicated())
    if twice.height:
        question, attempt = twice.select("question_id", "attempt").row(0)
        raise InputError(
            f"benchmark {names[0]}: attempt {attempt} at question {question} is there more than once; "
            "wanted the rows of one checkpoint"
        )
