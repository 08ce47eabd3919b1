"""From one verdict a response to the frame that a filter returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import polars as pl

from dasd.base.records import Verdict

__all__ = ["KEPT", "dropped", "judge_each", "verdict_frame"]

KEPT = Verdict(kept=True, reason="", detail="")


def dropped(reason: str, detail: str) -> Verdict:
    """A verdict against a response."""
    return Verdict(kept=False, reason=reason, detail=detail)


def verdict_frame(verdicts: Iterable[Verdict]) -> pl.DataFrame:
    """Columns kept, reason, detail; one row a verdict, in order."""
    rows = [(verdict.kept, verdict.reason, verdict.detail) for verdict in verdicts]
    return pl.DataFrame(
        rows, schema={"kept": pl.Boolean, "reason": pl.String, "detail": pl.String}, orient="row"
    )


def judge_each(responses: pl.DataFrame, column: str, judge: Callable[[str], Verdict]) -> pl.DataFrame:
    """Judge each response by one of its text columns alone."""
    return verdict_frame(judge(text) for text in responses.get_column(column))
