"""pass@k: the chance that one of k attempts is right."""

from __future__ import annotations

from math import comb

import polars as pl

from dasd.errors import InputError
from dasd.evaluation.statistics.estimate import Estimate, mean_over_questions, question_values

__all__ = ["pass_at", "pass_probability"]


def pass_probability(attempts: int, correct: int, k: int) -> float:
    """1 - C(n - c, k) / C(n, k), unbiased for n attempts of which c are right (Chen et al. 2021, arXiv 2107.03374).

    Raises InputError unless 1 <= k <= n and 0 <= c <= n.
    """
    if not (1 <= k <= attempts and 0 <= correct <= attempts):
        raise InputError(
            f"pass@{k}: wanted 1 <= k <= attempts and 0 <= correct <= attempts; got {correct} of {attempts}"
        )
    return 1 - comb(attempts - correct, k) / comb(attempts, k)


def pass_at(rows: pl.DataFrame, k: int) -> Estimate:
    """pass@k, the mean over questions, and its standard error over questions.

    ``rows``: EVAL rows of one benchmark and checkpoint, every question with k attempts or more. Raises InputError,
    naming k and what there is, otherwise.
    """
    values = question_values(rows, pl.col("correct"))
    fewest = min((question.size for question in values), default=0)
    if values and k > fewest:
        raise InputError(f"pass@{k}: a question has {fewest} attempts; wanted {k} or more, or a smaller k")
    chances = [pass_probability(question.size, int(question.sum()), k) for question in values]
    value, error = mean_over_questions(chances)
    return Estimate(value, error, len(values), sum(question.size for question in values))
