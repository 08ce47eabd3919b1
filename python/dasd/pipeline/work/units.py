"""Units of work and the small things that several stages share.

A unit is a fixed slice of a stage's full list of work, and is written whole, so an interrupted stage ends with the
same rows as one that ran through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import polars as pl

from dasd.pipeline.work.stage import StageContext
from dasd.store import PartRows

__all__ = ["Unit", "finish_rows", "in_order", "share", "units", "verdict_rows"]

ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True)
class Unit:
    """Items ``start`` up to ``stop`` of the full list."""

    key: str
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Number of items."""
        return self.stop - self.start

    def of(self, items: Sequence[ItemT]) -> Sequence[ItemT]:
        """This unit's items."""
        return items[self.start : self.stop]

    def rows(self, rows: PartRows) -> pl.DataFrame:
        """This unit's rows, when the items are ``rows``."""
        return rows.slice(self.start, self.stop)


def units(total: int, chunk: int, prefix: str = "") -> list[Unit]:
    """Slices of ``chunk`` items; the key holds both ends, so another chunk size never shares a key."""
    return [
        Unit(f"{prefix}{start:08d}-{min(start + chunk, total):08d}", start, min(start + chunk, total))
        for start in range(0, total, chunk)
    ]


def in_order(rows: pl.DataFrame, ids: pl.Expr, wanted: Sequence[str]) -> pl.DataFrame:
    """Those of ``rows`` whose ``ids`` are wanted, in that order; refused requests have no row."""
    order = pl.DataFrame({"_id": wanted}, schema={"_id": pl.String})
    joined = order.join(rows.with_columns(_id=ids), on="_id", how="inner", maintain_order="left")
    return joined.select(rows.columns)


def finish_rows(context: StageContext, frame: str, rows: pl.DataFrame, unit: Unit) -> None:
    """Write a unit's rows, if there are any, and mark it done."""
    if rows.height:
        context.writer.append(frame, rows, key=unit.key)
    context.writer.finish_unit(unit.key)


def verdict_rows(
    sample_ids: pl.Series, stage: str, reasons: Sequence[str], details: Sequence[str]
) -> pl.DataFrame:
    """VERDICTS rows; a sample without a reason is kept."""
    return pl.DataFrame(
        {
            "sample_id": sample_ids,
            "stage": pl.Series([stage] * len(sample_ids), dtype=pl.String),
            "kept": pl.Series([not reason for reason in reasons], dtype=pl.Boolean),
            "reason": pl.Series(reasons, dtype=pl.String),
            "detail": pl.Series(details, dtype=pl.String),
        }
    )


def share(part: float, whole: float) -> float | None:
    """``part`` over ``whole``, None of nothing."""
    return part / whole if whole else None
