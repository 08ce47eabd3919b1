"""Units of work and the small things that several stages share.

A unit is a fixed slice of a stage's full list of work. It is done whole or redone whole, so an interrupted
stage ends with the same rows as one that ran through.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import polars as pl

from dasd.records import Message
from dasd.stages.base import StageContext

__all__ = [
    "Unit",
    "count_rows",
    "finish_rows",
    "generate",
    "kept_ids",
    "messages_by_question",
    "messages_of",
    "only",
    "share",
    "units",
    "verdict_rows",
]

ItemT = TypeVar("ItemT")
FramesOf = Callable[["Unit"], Iterator[pl.DataFrame]]
IdsOf = Callable[["Unit"], Sequence[str]]


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

    def rows(self, frame: pl.LazyFrame) -> pl.DataFrame:
        """This unit's rows, when the items are the rows of ``frame``."""
        return frame.slice(self.start, self.size).collect()


def units(total: int, chunk: int, prefix: str = "") -> list[Unit]:
    """Slices of ``chunk`` items; the key holds both ends, so another chunk size never shares a key."""
    return [
        Unit(f"{prefix}{start:08d}-{min(start + chunk, total):08d}", start, min(start + chunk, total))
        for start in range(0, total, chunk)
    ]


def generate(
    context: StageContext,
    description: str,
    work: Sequence[Unit],
    frames: FramesOf,
    order: IdsOf,
    frame: str,
) -> None:
    """Run an engine unit by unit: skip the units that are done, write each other one as one part.

    ``frames`` starts the engine's work on a unit, ``order`` gives the sample_ids in the order to write. The
    engine may yield rows in any order; parts hold them in the order of the requests.
    """
    if not work:
        return
    done = context.writer.done()
    waiting = [unit for unit in work if unit.key not in done]
    total = sum(len(order(unit)) for unit in work)
    finished = total - sum(len(order(unit)) for unit in waiting)
    tokens, start = 0, time.monotonic()
    with context.console.task(description, total, "responses", completed=finished) as task:
        for unit in waiting:
            if not order(unit):
                context.writer.finish_unit(unit.key)
                continue
            rows = []
            for part in frames(unit):
                rows.append(part)
                tokens += int(part.select(pl.col("token_ids").list.len().sum()).item() or 0)
                rate = tokens / max(time.monotonic() - start, 1e-9)
                task.advance(part.height, **{"tokens/s": float(round(rate))})
            finish_rows(context, frame, in_order(rows, order(unit)), unit)


def in_order(frames: Sequence[pl.DataFrame], sample_ids: Sequence[str]) -> pl.DataFrame:
    """The rows of ``frames`` in the order of ``sample_ids``, of which each has one."""
    wanted = pl.DataFrame({"sample_id": sample_ids}, schema={"sample_id": pl.String})
    joined = wanted.join(pl.concat(frames), on="sample_id", how="inner", maintain_order="left")
    return joined.select(frames[0].columns)


def finish_rows(context: StageContext, frame: str, rows: pl.DataFrame, unit: Unit) -> None:
    """Write a unit's rows, if there are any, and mark it done."""
    if rows.height:
        context.writer.append(frame, rows, key=unit.key)
    context.writer.finish_unit(unit.key)


def count_rows(frame: pl.LazyFrame) -> int:
    """Number of rows, without reading them."""
    return int(frame.select(pl.len()).collect().item())


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


def kept_ids(verdicts: pl.LazyFrame) -> frozenset[str]:
    """The sample_ids that a stage kept."""
    return frozenset(verdicts.filter(pl.col("kept")).select("sample_id").collect().to_series())


def only(rows: pl.DataFrame, sample_ids: Collection[str]) -> pl.DataFrame:
    """The rows of these samples; costs by the rows, not by the ids, which may be a whole run's."""
    return rows.filter(pl.Series([item in sample_ids for item in rows["sample_id"]], dtype=pl.Boolean))


def messages_of(cell: Iterable[dict[str, str]]) -> tuple[Message, ...]:
    """Messages from a cell of QUESTIONS."""
    return tuple(Message(turn["role"], turn["content"]) for turn in cell)  # type: ignore[arg-type]


def messages_by_question(questions: pl.LazyFrame) -> dict[str, tuple[Message, ...]]:
    """The conversation of each question_id."""
    rows = questions.select("question_id", "messages").collect().iter_rows()
    return {question: messages_of(cell) for question, cell in rows}


def share(part: float, whole: float) -> float | None:
    """``part`` over ``whole``, None of nothing."""
    return part / whole if whole else None
