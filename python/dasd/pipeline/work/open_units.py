"""Units whose requests are with an engine: rows come in any order, whole units are written in order.

An engine that is kept full works on requests of several units at a time. What it gives waits in scratch until its
unit is whole and every unit before it is written, so that a stage's parts are the same however it was fed.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import polars as pl

from dasd.base.schemas import ALL
from dasd.errors import PluginError
from dasd.pipeline.work.question_places import located
from dasd.pipeline.work.refused import Refusals
from dasd.pipeline.work.stage import StageContext
from dasd.pipeline.work.under_way import UnderWay
from dasd.pipeline.work.units import Unit, finish_rows, in_order

__all__ = ["OpenUnits"]

SAVE_SECONDS = 1.0
"""Rows that are held are written after this time: all that a kill costs of what is finished."""
HELD_BYTES = 64 * 2**20
"""Or when so many of them are held."""


@dataclass(slots=True)
class _Open:
    """One of them. ``left``: requests without row or refusal."""

    unit: Unit
    questions: Mapping[str, str]
    left: set[str]
    rows: UnderWay


class OpenUnits:
    """Takes rows and refusals, and writes units in the order in which they were opened."""

    def __init__(
        self,
        context: StageContext,
        frame: str,
        refusals: Refusals,
        ids: pl.Expr,
        on_notes: Callable[[Unit, Counter[str]], None] | None = None,
    ) -> None:
        """``ids``: how the rows of ``frame`` name their requests.

        ``on_notes`` is given what was counted with a unit's rows before the unit counts as done.
        """
        self._context = context
        self._schema = ALL[frame]
        self._refusals = refusals
        self._on_notes = on_notes
        self._ids = ids
        self._open: deque[_Open] = deque()
        self._of: dict[str, _Open] = {}
        self._held = 0
        self._saved = time.monotonic()
        self._given = not context.writer.read(frame).head(1).collect().is_empty()
        self.questions: dict[str, str] = {}
        """question_id of each request of an open unit."""

    @property
    def requests(self) -> int:
        """Requests of open units."""
        return len(self.questions)

    @property
    def count(self) -> int:
        """Open units."""
        return len(self._open)

    def open(self, unit: Unit, questions: Mapping[str, str]) -> frozenset[str]:
        """Begin with a unit: the sample_ids that an earlier, interrupted start neither finished nor saw refused.

        ``questions``: question_id of each of its requests, in the order in which their rows are to be written.
        """
        rows = UnderWay(self._context, unit.key, self._schema)
        found = frozenset(rows.resume().select(self._ids).to_series())
        self._given = self._given or bool(found)
        each = _Open(unit, questions, {*questions} - found - self._refusals.open(unit.key), rows)
        self._open.append(each)
        self._of.update(dict.fromkeys(each.left, each))
        self.questions.update(questions)
        return frozenset(each.left)

    def take(self, rows: pl.DataFrame, notes: Mapping[str, int] | None = None) -> None:
        """Rows of open requests; ``notes`` are counts that belong to them. Writes what is whole."""
        ids = rows.select(self._ids).to_series()
        units: dict[int, tuple[_Open, list[int]]] = {}
        for place, sample_id in enumerate(ids):
            each = self._of.pop(sample_id)
            each.left.discard(sample_id)
            units.setdefault(id(each), (each, []))[1].append(place)
        for each, places in units.values():
            each.rows.hold(rows if len(places) == rows.height else rows[places], notes)
            notes = None
        self._given = self._given or rows.height > 0
        self._held += int(rows.estimated_size())
        if time.monotonic() - self._saved >= SAVE_SECONDS or self._held >= HELD_BYTES:
            self.save()
        self.write_whole()

    def refuse(self, sample_id: str, reason: str) -> None:
        """The engine refuses an open request. Raises BackendError where that is one too many."""
        each = self._of.pop(sample_id)
        each.left.discard(sample_id)
        self._refusals.add(each.unit.key, sample_id, each.questions[sample_id], reason)

    def save(self) -> None:
        """Bring what is held to the disk. Raises DiskFullError."""
        for each in self._open:
            each.rows.save()
        self._refusals.save()
        self._held, self._saved = 0, time.monotonic()

    def write_whole(self) -> None:
        """Write the units that are whole, as far as all before them are."""
        while self._open and not self._open[0].left:
            each = self._open[0]
            key = each.unit.key
            self._refusals.finish(key, given=self._given)
            rows = in_order(each.rows.rows, self._ids, list(each.questions))
            if self._on_notes is not None:
                self._on_notes(each.unit, each.rows.notes)
            finish_rows(self._context, self._schema.name, rows, each.unit)
            each.rows.forget()
            self._refusals.forget(key)
            self._open.popleft()
            for sample_id in each.questions:
                del self.questions[sample_id]

    def check_complete(self, who: str, asked: Collection[Unit] | None = None) -> None:
        """PluginError unless each request of the units has its row or was refused; ``who`` was asked.

        ``asked``: None for all that are open.
        """
        units = [each for each in self._open if asked is None or each.unit in asked]
        left = [(sample_id, each) for each in units for sample_id in each.questions if sample_id in each.left]
        if left:
            sample_id, each = left[0]
            raise PluginError(
                f"{who} left out {len(left)} of {sum(len(each.questions) for each in units)} answers, e.g. "
                f"{sample_id} to question {each.questions[sample_id]}"
            )

    def tell(self) -> None:
        """Warn of what was refused, at the end."""
        self._refusals.tell()

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Whatever ends the work inside: what is held goes to the disk, and errors tell where a question is from."""
        with located(self._context, self.questions):
            try:
                yield
            except BaseException:
                self.save()
                raise
