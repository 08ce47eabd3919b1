"""Two checkpoints on the same questions: the difference, its error, and how likely chance makes one as large."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from dasd.errors import InputError
from dasd.evaluation.statistics.estimate import Interval, mean_over_questions, one_benchmark, t_reach
from dasd.evaluation.statistics.share_intervals import share_difference_interval
from dasd.evaluation.statistics.student_t import t_two_sided

__all__ = ["Comparison", "compare"]

_EXACT = 16
"""Differences up to which all signs are tried (2 ** 16)."""
_CLOSE = 1e-12


@dataclass(frozen=True, slots=True)
class Comparison:
    """``second`` minus ``first``, paired by question."""

    first: float
    second: float
    difference: float
    standard_error: float | None
    interval: Interval | None
    p_value: float
    """Two-sided, of the sign-flip permutation test; 1 if no question differs."""
    exact: bool
    """Whether all sign flips were tried."""
    t_p_value: float | None
    """Two-sided, of the paired t test, for reference; None where the differences don't vary."""
    questions: int
    better: int
    """Questions at which the second has the higher mean."""
    worse: int


def compare(
    first: pl.DataFrame,
    second: pl.DataFrame,
    value: str = "correct",
    draws: int = 20_000,
    seed: int = 0,
) -> Comparison:
    """Compare two checkpoints' EVAL rows of one benchmark by column ``value`` (correct, tokens, seconds).

    Each question's attempts are averaged, and the differences d_q of the means are tested: under the null hypothesis
    either sign is as likely, so p is the share of sign patterns whose |sum| is at least the observed one. All patterns
    for up to 16 questions that differ, else ``draws`` by ``seed``, counted as (hits + 1) / (draws + 1) (Phipson and
    Smyth 2010). The standard error is sd(d) / sqrt(n), the paired error of Miller 2024, section 4.2; it counts both
    questions and attempts. Numbers of attempts may differ. The interval of a difference of shares is
    ``share_difference_interval``'s, others are by t.

    Raises InputError naming a question that only one of the two has.
    """
    means = [_means(rows, value) for rows in (first, second)]
    for one, other, name in ((means[0], means[1], "second"), (means[1], means[0], "first")):
        missing = one.join(other, on="question_id", how="anti")
        if missing.height:
            raise InputError(
                f"compare: {missing.height} questions are not among the {name} checkpoint's, e.g. "
                f"{missing['question_id'][0]}; wanted the same questions of both"
            )
    both = means[0].join(means[1], on="question_id", maintain_order="left")
    if not both.height:
        raise InputError("compare: wanted questions with a value; got none")
    a, b = both["value"].to_numpy(), both["value_right"].to_numpy()
    differences = b - a
    difference, error = mean_over_questions(list(differences))
    p_value, exact = _sign_flips(differences, draws, seed)
    interval = t_p_value = None
    if error is not None:
        if value == "correct":
            counts = tuple(int(rows.get_column(value).count()) for rows in (first, second))
            interval = share_difference_interval(a, b, (counts[0], counts[1]))
        else:
            reach = t_reach(differences.size) * error
            interval = Interval(difference - reach, difference + reach)
        if error > 0:
            t_p_value = t_two_sided(difference / error, differences.size - 1)
    return Comparison(
        first=float(a.mean()),
        second=float(b.mean()),
        difference=difference,
        standard_error=error,
        interval=interval,
        p_value=p_value,
        exact=exact,
        t_p_value=t_p_value,
        questions=differences.size,
        better=int((differences > _CLOSE).sum()),
        worse=int((differences < -_CLOSE).sum()),
    )


def _means(rows: pl.DataFrame, value: str) -> pl.DataFrame:
    one_benchmark(rows)
    return (
        rows.select("question_id", value=pl.col(value).cast(pl.Float64))
        .drop_nulls("value")
        .group_by("question_id")
        .agg(pl.col("value").mean())
        .sort("question_id")
    )


def _sign_flips(differences: np.ndarray, draws: int, seed: int) -> tuple[float, bool]:
    sizes = np.abs(differences[np.abs(differences) > _CLOSE])
    if not sizes.size:
        return 1.0, True
    observed = abs(float(differences.sum())) - _CLOSE * sizes.size
    if sizes.size <= _EXACT:
        sums = np.zeros(1)
        for size in sizes:
            sums = np.concatenate([sums - size, sums + size])
        return float((np.abs(sums) >= observed).mean()), True
    random = np.random.default_rng(seed)
    hits, left = 0, draws
    step = max(1, 2_000_000 // sizes.size)
    while left:
        signs = random.integers(0, 2, size=(min(step, left), sizes.size)) * 2 - 1
        hits += int((np.abs(signs @ sizes) >= observed).sum())
        left -= signs.shape[0]
    return (hits + 1) / (draws + 1), False
