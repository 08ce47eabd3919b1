"""avg@k, response length and truncation rate: means over questions of means over attempts."""

from __future__ import annotations

import numpy as np
import polars as pl

from dasd.evaluation.statistics.estimate import Estimate, mean_over_questions, question_values

__all__ = ["average", "length", "truncation_rate"]


def average(rows: pl.DataFrame) -> Estimate:
    """avg@k: the share of right attempts, averaged by question first, so each question weighs the same.

    ``rows``: EVAL rows of one benchmark and checkpoint; null ``correct`` has no part in it. Raises InputError for
    none.
    """
    return _estimate(question_values(rows, pl.col("correct")))


def length(rows: pl.DataFrame) -> Estimate:
    """Mean length of a response in tokens, by question first. ``rows``: as for ``average``."""
    return _estimate(question_values(rows, pl.col("tokens")))


def truncation_rate(rows: pl.DataFrame) -> Estimate:
    """Share of responses that hit a token limit (``finish_reason`` other than ``stop``), by question first."""
    return _estimate(question_values(rows, pl.col("finish_reason") != "stop"))


def _estimate(values_Q_K: list[np.ndarray]) -> Estimate:  # noqa: N803 - ragged: questions, their attempts
    value, error = mean_over_questions([float(values.mean()) for values in values_Q_K])
    return Estimate(value, error, len(values_Q_K), sum(values.size for values in values_Q_K))
