"""From one verdict a response to the frame that a filter returns."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from dasd.base.records import Verdict

__all__ = ["KEPT", "dropped", "verdict_frame"]

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
