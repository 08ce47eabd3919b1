"""Tables of the page beyond the hypotheses: one arm against several on several measures, and stages in sequence."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from benchmarks.evidence.verdicts import mean_and_error, paired
from dasd.evaluation.statistics import Estimate, mean_over_questions, t_interval

__all__ = ["against", "in_sequence"]

MEASURES = {"accuracy": "accuracy", "macro": "macro accuracy", "kl": "KL"}
OTHERS = ("high", "divergence", "length-matched")
STAGES = {"low": "low", "high": "low, high", "mixed1": "low, high, mixed"}


def against(table: pl.DataFrame, world: str, arm: str, budget: str) -> Iterator[str]:
    """``arm`` minus each of ``OTHERS``, with the paired 95 % t interval over seeds (not corrected).

    Under the table: how many intervals lie wholly where ``arm`` is worse, and where it is better.
    """
    worse = better = 0
    yield f"| {arm} minus | " + " | ".join(MEASURES.values()) + " |"
    yield "|---|" + "---|" * len(MEASURES)
    for other in OTHERS:
        shown = []
        for name in MEASURES:
            value, low, high = _difference(paired(table, world, name, (arm, budget), (other, budget)))
            sign = -1 if name == "kl" else 1
            worse += low is not None and high is not None and max(sign * low, sign * high) < 0
            better += low is not None and high is not None and min(sign * low, sign * high) > 0
            shown.append(value)
        if any(shown):
            yield f"| {other} | " + " | ".join(shown) + " |"
    yield ""
    yield f"Of these intervals {better} lie wholly on the better side of zero and {worse} on the worse."


def in_sequence(table: pl.DataFrame, world: str, budget: str) -> Iterator[str]:
    """Accuracy at temperature 1, KL and cut-off rate after each stage of the arm ``mixed`` (the report's table 7)."""
    names = {"accuracy": "T=1.0", "kl_nats_per_response": "KL", "cut_off_rate": "cut off"}
    yield "| after | " + " | ".join(names.values()) + " |"
    yield "|---|" + "---|" * len(names)
    rows = table.filter(
        (pl.col("world") == world) & (pl.col("arm") == "mixed") & (pl.col("budget") == budget)
    )
    for stage, words in STAGES.items():
        values = [rows.filter(pl.col("measure") == f"stage.{stage}.{name}")["value"] for name in names]
        if all(len(each) for each in values):
            yield f"| {words} | " + " | ".join(map(mean_and_error, values)) + " |"


def _difference(pairs: list[tuple[float, float]]) -> tuple[str, float | None, float | None]:
    """In words, and the interval's ends."""
    if not pairs:
        return "", None, None
    value, error = mean_over_questions([one - two for one, two in pairs])
    interval = t_interval(Estimate(value, error, len(pairs), len(pairs)))
    if interval is None:
        return f"{value:+.3f}", None, None
    return f"{value:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})", interval.low, interval.high
