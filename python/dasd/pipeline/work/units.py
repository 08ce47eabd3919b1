"""Units of work and the small things that several stages share.

A unit is a fixed slice of a stage's full list of work, and is written whole, so an interrupted stage ends with the
same rows as one that ran through.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import polars as pl

from dasd.base.records import OnRefused
from dasd.base.schemas import ALL
from dasd.pipeline.work.question_places import located
from dasd.pipeline.work.refused import Refusals
from dasd.pipeline.work.stage import StageContext
from dasd.pipeline.work.under_way import UnderWay

__all__ = [
    "Asked",
    "Unit",
    "finish_rows",
    "generate",
    "share",
    "units",
    "verdict_rows",
]

ItemT = TypeVar("ItemT")
FramesOf = Callable[["Asked"], Iterator[pl.DataFrame]]
IdsOf = Callable[["Unit"], Sequence[tuple[str, str]]]


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


class _Request(Protocol):
    @property
    def sample_id(self) -> str: ...


RequestT = TypeVar("RequestT", bound=_Request)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is left of a unit: neither finished nor refused by an earlier, interrupted start."""

    unit: Unit
    sample_ids: frozenset[str]
    on_refused: OnRefused
    """Sets a request aside; goes into the engine's spec."""

    def of(self, requests: Sequence[RequestT]) -> list[RequestT]:
        """Those of the stage's full list of requests."""
        return [request for request in self.unit.of(requests) if request.sample_id in self.sample_ids]


def generate(
    context: StageContext,
    description: str,
    work: Sequence[Unit],
    frames: FramesOf,
    order: IdsOf,
    frame: str,
) -> None:
    """Run an engine unit by unit: skip the units that are done, write each other one as one part.

    ``frames`` starts the engine's work on what is left of a unit, ``order`` gives (sample_id, question_id) of the
    whole unit in the order to write. The engine may yield rows in any order; parts hold them in the order of the
    requests. Finished rows of a unit that is interrupted wait in scratch; what the engine refuses is set aside,
    and BackendError says when that is too much.
    """
    if not work:
        return
    done = context.writer.done()
    waiting = [unit for unit in work if unit.key not in done]
    everything = [sample_id for unit in work for sample_id, _ in order(unit)]
    finished = len(everything) - sum(len(order(unit)) for unit in waiting)
    refusals = Refusals(context, len(everything), everything)
    given = not context.writer.read(frame).select("sample_id").head(1).collect().is_empty()
    tokens, start = 0, time.monotonic()
    with context.console.task(description, len(everything), "responses", completed=finished) as task:
        for unit in waiting:
            questions = dict(order(unit))
            if not questions:
                context.writer.finish_unit(unit.key)
                continue
            under_way = UnderWay(context, unit.key, ALL[frame])
            refusals.turn_to(unit.key)
            before = {*under_way.rows.get_column("sample_id"), *refusals.of_unit}
            task.advance(len(before))

            def refused(sample_id: str, reason: str, questions: dict[str, str] = questions) -> None:
                refusals.add(sample_id, questions[sample_id], reason)
                task.advance(1)

            left = frozenset(questions.keys() - before)
            with located(context, questions), under_way.saved(), refusals.saved():
                for part in frames(Asked(unit, left, refused)) if left else ():
                    under_way.hold(part)
                    tokens += int(part.select(pl.col("token_ids").list.len().sum()).item() or 0)
                    rate = tokens / max(time.monotonic() - start, 1e-9)
                    task.advance(part.height, **{"tokens/s": float(round(rate))})
            rows = in_order(under_way.rows, list(questions))
            given = given or rows.height > 0
            refusals.finish(unit.key, given=given)
            finish_rows(context, frame, rows, unit)
            under_way.forget()
            refusals.forget()
    refusals.tell()


def in_order(rows: pl.DataFrame, sample_ids: Sequence[str]) -> pl.DataFrame:
    """Those of ``rows`` that are of these samples, in their order; refused ones have no row."""
    wanted = pl.DataFrame({"sample_id": sample_ids}, schema={"sample_id": pl.String})
    joined = wanted.join(rows, on="sample_id", how="inner", maintain_order="left")
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
