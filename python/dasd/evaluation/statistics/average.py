"""avg@k, response length and truncation rate: means over questions of means over attempts."""

from __future__ import annotations

import numpy as np
import polars as pl

from dasd.evaluation.statistics.estimate import Estimate, mean_over_questions, question_values

__all__ = ["average", "length", "mean_estimate", "truncation_rate"]


def average(rows: pl.DataFrame) -> Estimate:
    """avg@k: the share of right attempts, averaged by question first, so each question weighs the same.

    ``rows``: EVAL rows of one benchmark and checkpoint; null ``correct`` has no part in it. Raises InputError for
    none.
    """
    return mean_estimate(question_values(rows, pl.col("correct")))


def length(rows: pl.DataFrame) -> Estimate:
    """Mean length of a response in tokens, by question first. ``rows``: as for ``average``."""
    return mean_estimate(question_values(rows, pl.col("tokens")))


def truncation_rate(rows: pl.DataFrame) -> Estimate:
    """Share of responses that hit a token limit (``finish_reason`` other than ``stop``), by question first."""
    return mean_estimate(question_values(rows, pl.col("finish_reason") != "stop"))


def mean_estimate(values_Q_K: list[np.ndarray]) -> Estimate:  # noqa: N803 - ragged: questions, their attempts
    """The mean of the questions' means, with both errors.

    ``attempts_error`` is sqrt(sum_q s_q^2 / k_q) / n with s_q^2 the variance (k_q - 1) of question q's attempts: the
    error for exactly these questions.
    """
    value, error = mean_over_questions([float(values.mean()) for values in values_Q_K])
    within = None
    if all(values.size > 1 for values in values_Q_K):
        variances = [values.var(ddof=1) / values.size for values in values_Q_K]
        within = float(np.sqrt(np.sum(variances)) / len(values_Q_K))
    return Estimate(value, error, within, len(values_Q_K), sum(values.size for values in values_Q_K))
