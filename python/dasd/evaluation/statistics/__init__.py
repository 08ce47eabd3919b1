"""Scores of EVAL rows with their errors: avg@k, pass@k, majority@k, intervals, comparisons.

Pure functions: frames in, records out. The formulas and where they are from stand in docs/graders.md.
"""

from __future__ import annotations

from dasd.evaluation.statistics.estimate import (
    Estimate,
    Interval,
    bootstrap,
    mean_over_questions,
    t_interval,
)
from dasd.evaluation.statistics.paired import Comparison, compare
from dasd.evaluation.statistics.scores import (
    average,
    length,
    majority_at,
    majority_of,
    pass_at,
    pass_probability,
    truncation_rate,
)
from dasd.evaluation.statistics.share_intervals import share_difference_interval, share_interval
from dasd.evaluation.statistics.summary import SUMMARY, summary

__all__ = [
    "SUMMARY",
    "Comparison",
    "Estimate",
    "Interval",
    "average",
    "bootstrap",
    "compare",
    "length",
    "majority_at",
    "majority_of",
    "mean_over_questions",
    "pass_at",
    "pass_probability",
    "share_difference_interval",
    "share_interval",
    "summary",
    "t_interval",
    "truncation_rate",
]
