"""Groups of whole questions: what has to see all candidates of a question works through these.

Rows are read once, in order, and a group holds a bounded number of tokens, so a stage's memory doesn't grow
with the corpus. Samples lie question by question; results don't depend on where groups end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise

import polars as pl

from dasd.errors import StoreError
from dasd.pipeline.work.units import Unit

__all__ = ["QUESTIONS_PER_WINDOW", "Group", "RowStream", "question_groups", "question_windows", "resume_at"]

TOKENS_PER_GROUP = 1 << 21
ROW_WEIGHT = 256
"""Tokens that a row counts for besides its own: a group has at most 8,192 short rows."""
QUESTIONS_PER_WINDOW = 2048
"""Questions whose candidates are ranked together, however many groups they come in."""


@dataclass(frozen=True, slots=True)
class Group:
    """Consecutive rows of whole questions."""

    unit: Unit
    """Which rows of the frame these are."""
    rows: pl.DataFrame
    ends_window: bool
    """Whether this is the last group of its window of questions."""


def question_groups(
    frame: pl.LazyFrame,
    start: int = 0,
    *,
    tokens: str = "token_ids",
    size: int = TOKENS_PER_GROUP,
    window: int | None = None,
) -> Iterator[Group]:
    """The rows of ``frame`` from ``start``, which begins a question, in groups of about ``size`` tokens.

    ``tokens``: a list column with one item a token. ``window``: questions after which a group ends in any case.
    """
    held: list[pl.DataFrame] = []
    weight = questions = 0
    for rows in frame.slice(start).collect_batches():
        held.append(rows)
        weight += int(_weights(rows, tokens).sum())
        if weight < size:
            continue
        together = pl.concat(held)
        begin = 0
        for stop, seen in _cuts(together, tokens, size, window, questions):
            ends = seen == window
            yield Group(_unit(start + begin, start + stop), together.slice(begin, stop - begin), ends)
            begin, questions = stop, 0 if ends else seen
        start += begin
        held = [together.slice(begin)]
        weight = int(_weights(held[0], tokens).sum())
    together = pl.concat(held) if held else pl.DataFrame()
    begin = 0
    for stop, seen in _cuts(together, tokens, size, window, questions) if together.height else ():
        yield Group(_unit(start + begin, start + stop), together.slice(begin, stop - begin), seen == window)
        begin = stop
    if begin < together.height:
        yield Group(_unit(start + begin, start + together.height), together.slice(begin), ends_window=True)


def question_windows(samples: pl.LazyFrame, size: int = QUESTIONS_PER_WINDOW) -> list[Unit]:
    """Slices of the rows of ``samples`` that hold ``size`` whole questions each (the last may hold fewer)."""
    bounds: list[int] = []
    last: str | None = None
    row = seen = 0
    for rows in samples.select("question_id").collect_batches():
        questions = rows.get_column("question_id")
        starts = questions.rle_id().is_first_distinct().arg_true().to_list()
        for start in starts if last is None or not starts or questions[0] != last else starts[1:]:
            if seen % size == 0:
                bounds.append(row + start)
            seen += 1
        row += rows.height
        last = questions[-1] if rows.height else last
    return [_unit(start, stop) for start, stop in pairwise([*bounds, row])]


def _unit(start: int, stop: int) -> Unit:
    return Unit(f"{start:08d}-{stop:08d}", start, stop)


def _weights(rows: pl.DataFrame, tokens: str) -> pl.Series:
    return rows.get_column(tokens).list.len().cast(pl.UInt64) + ROW_WEIGHT


def _cuts(
    rows: pl.DataFrame, tokens: str, size: int, window: int | None, seen: int
) -> Iterator[tuple[int, int]]:
    """Rows at which groups end, and the questions of the window up to there; the last question stays open."""
    starts = rows.get_column("question_id").rle_id().is_first_distinct().arg_true().to_list()
    passed = _weights(rows, tokens).cum_sum().to_list()
    before = 0
    for row in starts[1:]:
        seen += 1
        if passed[row - 1] - before >= size or seen == window:
            yield row, seen
            before = passed[row - 1]
            seen = 0 if seen == window else seen


class RowStream:
    """The rows of a frame in order, handed out as many at a time as they are asked for."""

    def __init__(self, frame: pl.LazyFrame, start: int = 0) -> None:
        self._batches = iter(frame.slice(start).collect_batches())
        self._held: list[pl.DataFrame] = [frame.head(0).collect()]

    def take(self, count: int) -> pl.DataFrame:
        """The next ``count`` rows. Raises StoreError if fewer are left."""
        have = sum(rows.height for rows in self._held)
        while have < count:
            rows = next(self._batches, None)
            if rows is None:
                raise StoreError(f"{count} rows are wanted and {have} are left; run the stage before again")
            self._held.append(rows)
            have += rows.height
        together = pl.concat(self._held)
        self._held = [together.slice(count)]
        return together.head(count)


def resume_at(done: Collection[str]) -> int:
    """The row after the last unit that is done. Units are done in order and their keys say which rows."""
    return max((int(key.rpartition("-")[2]) for key in done), default=0)
