"""What a hypothesis of the suite is: two cells, a measure, a direction, and a size that would be worth naming."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["ALPHA", "Hypothesis", "Question"]

ALPHA = 0.05
_BOTH = ("modes", "usefulness")
Question = Literal[
    "temperature",
    "selection",
    "mixed-policy",
    "answer filter",
    "coverage",
    "weighting",
    "probe",
    "selection again",
    "whole method",
    "order, where answers run on",
    "selection, where answers run on",
    "answer filter, where answers run on",
    "mixed-policy, where answers run on",
    "on-policy",
]


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """``arm`` minus ``than`` in ``measure`` has the sign of ``smallest``, and at least its size.

    ``question``: p-values are adjusted over the tested hypotheses of one question in all worlds. ``tested``: else
    it is exploration, shown with its interval and without a verdict. ``table``: of the report that claims it; empty
    where the report doesn't. ``retired``: the arms are gone; results are those of the code that had them. ``seeds``:
    fewer give no verdict.
    """

    name: str
    claim: str
    question: Question
    measure: str
    arm: str
    than: str
    smallest: float
    table: str = ""
    budget: str = "3x"
    tested: bool = True
    retired: bool = False
    worlds: tuple[str, ...] = _BOTH
    seeds: int = 5
