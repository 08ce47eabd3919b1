"""Requests to an engine, fed so that it never waits for the slowest answer of a unit.

Units are how work is written and known again, not how it is asked for. An engine that says how many requests it works
on at a time (``ModelInfo.concurrency``) reads them from an iterator, as it has room: requests of later units flow in
while earlier ones finish. An engine that takes lists gets a unit at a time, so its batches depend on the unit alone;
one that works on several lists (``ModelInfo.lists``) gets as many units, each in a call of its own.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, Protocol, TypeVar

import polars as pl

from dasd.base.progress import Task
from dasd.base.records import ContinueRequest, OnRefused, SampleRequest
from dasd.pipeline.work.open_units import OpenUnits
from dasd.pipeline.work.refused import Refusals
from dasd.pipeline.work.side_by_side import Job, Post, side_by_side
from dasd.pipeline.work.stage import StageContext
from dasd.pipeline.work.units import Unit
from dasd.plugins.roles import OpenedTeacher

__all__ = ["Asking", "asking_for", "generate"]

AHEAD = 16
"""Requests of unwritten units, as a multiple of those that the engine works on at a time (units, as a multiple of the
lists that it works on). Finished ones among them wait
in scratch, which takes disk and no memory. Only an answer that takes as many times the mean answer's time makes the
engine run empty for it: of log-normal lengths (sigma 0.8) one in 18,000, and none where a cap lies below."""
ASKED_AT_ONCE = 131_072
"""Most requests of one call of an engine: what is known of each is kept until the call ends."""
SORTED = 4
"""Requests that are put into order of size before they are fed, as a multiple of those that the engine works on."""


class Request(Protocol):
    """What is asked of an engine."""

    @property
    def sample_id(self) -> str:
        """Names it, and its row."""
        ...


RequestT = TypeVar("RequestT", bound=Request)
OwnT = TypeVar("OwnT", SampleRequest, ContinueRequest)
RequestsOf = Callable[[Unit, frozenset[str]], Sequence[RequestT]]
Ask = Callable[[OpenedTeacher, Iterable[RequestT], OnRefused], Iterator[pl.DataFrame]]


@dataclass(frozen=True, slots=True)
class Asking(Generic[RequestT]):
    """What a stage asks of one engine."""

    work: Sequence[Unit]
    """All of it, in order."""
    questions: Callable[[Unit], Mapping[str, str]]
    """question_id by sample_id of all requests of a unit, in the order in which their rows are to be written."""
    requests: RequestsOf[RequestT]
    """Those of a unit whose sample_ids are given."""
    teacher: Callable[[], OpenedTeacher]
    """Opens the engine; called when there is something to ask."""
    ask: Ask[RequestT]
    """Starts it on requests; the frames may hold rows in any order."""
    size: Callable[[RequestT], int] | None = None
    """How large a request is, where that is known: larger ones are fed first."""


def asking_for(
    requests: Callable[[Unit], Sequence[OwnT]],
    work: Sequence[Unit],
    teacher: Callable[[], OpenedTeacher],
    ask: Ask[OwnT],
    size: Callable[[OwnT], int] | None = None,
) -> Asking[OwnT]:
    """For requests that are made unit by unit, and name their questions. The others as in ``Asking``."""
    made = lru_cache(maxsize=1)(requests)  # a unit's questions are asked for, then its requests
    return Asking(
        work,
        lambda unit: {request.sample_id: request.question_id for request in made(unit)},
        lambda unit, left: [request for request in made(unit) if request.sample_id in left],
        teacher,
        ask,
        size,
    )


class Feed(Generic[RequestT]):
    """Opens units and hands out their requests, as many as an engine has room for."""

    def __init__(
        self,
        asking: Asking[RequestT],
        waiting: Iterable[Unit],
        units: OpenUnits,
        on_found: Callable[[int], None],
    ) -> None:
        """``waiting``: the units that aren't done, in order. ``on_found`` is told how many answers of a unit an earlier
        start has."""
        self._asking = asking
        self._waiting = deque(waiting)
        self._units = units
        self._on_found = on_found
        self._first: list[RequestT] = []

    def ready(self) -> bool:
        """Whether there is anything to ask. Opens units until there is; writes those that were whole already."""
        while not self._first and self._waiting:
            self._first = self._open()
            self._units.write_whole()
        return bool(self._first)

    def requests(self, concurrency: int | None) -> Iterator[RequestT]:
        """Those of one call of the engine, after ``ready``: a unit's, or with ``concurrency`` of all units that follow.

        They end where a call or the units that aren't written hold as many as they may; then ``ready`` tells whether
        there are more.
        """
        following, self._first = self._first, []
        asked = 0
        while following:
            size = self._asking.size
            if concurrency is not None and size is not None:
                while len(following) < SORTED * concurrency and self._more(concurrency, asked):
                    following += self._open()
                following.sort(key=size, reverse=True)
            asked += len(following)
            yield from following
            following = []
            while not following and concurrency is not None and self._more(concurrency, asked):
                following = self._open()

    def _more(self, concurrency: int, asked: int) -> bool:
        """Whether there is another unit, and room for it."""
        room = self._units.requests < AHEAD * concurrency and asked < ASKED_AT_ONCE
        return room and bool(self._waiting)

    def _open(self) -> list[RequestT]:
        unit = self._waiting.popleft()
        questions = self._asking.questions(unit)
        left = self._units.open(unit, questions)
        self._on_found(len(questions) - len(left))
        return list(self._asking.requests(unit, left)) if left else []


class _Progress(Generic[RequestT]):
    """What is told while an engine works."""

    def __init__(self, task: Task, units: OpenUnits, waiting: int) -> None:
        self._task = task
        self._units = units
        self._waiting = waiting
        self._start = time.monotonic()
        self._asked = self._given = self._tokens = 0
        self._concurrency: int | None = None

    def found(self, count: int) -> None:
        """So many answers are there from an earlier start."""
        self._waiting -= count
        self._task.advance(count)

    def counted(self, requests: Iterable[RequestT], concurrency: int | None) -> Iterator[RequestT]:
        """The requests, counted as the engine reads them."""
        self._concurrency = concurrency
        for request in requests:
            self._asked += 1
            yield request

    def took(self, rows: pl.DataFrame) -> None:
        """Rows came."""
        self._tokens += int(rows.select(pl.col("token_ids").list.len().sum()).item() or 0)
        self._advance(rows.height)

    def refused(self, sample_id: str, reason: str) -> None:
        """A request was refused."""
        self._units.refuse(sample_id, reason)
        self._advance(1)

    def _advance(self, count: int) -> None:
        self._given += count
        figures: dict[str, float] = {
            "tokens/s": float(round(self._tokens / max(time.monotonic() - self._start, 1e-9)))
        }
        if self._concurrency is not None:
            running = min(self._asked - self._given, self._concurrency)
            figures |= {"running": running, "waiting": self._waiting - self._given - running}
        self._task.advance(count, **figures)


def generate(context: StageContext, description: str, asking: Asking[RequestT], frame: str) -> None:
    """Ask an engine for all that isn't done, and write each unit as one part of ``frame``.

    Parts hold rows in the order of the requests, and are written in the order of the units. Finished rows of a unit
    that is interrupted wait in scratch and are not asked for again; what the engine refuses is set aside, and
    BackendError says when that is too much.
    """
    if not asking.work:
        return
    done = context.writer.done()
    waiting = [unit for unit in asking.work if unit.key not in done]
    total = sum(unit.size for unit in asking.work)
    left = sum(unit.size for unit in waiting)
    units = OpenUnits(
        context,
        frame,
        Refusals(context, total, lambda: {each for unit in asking.work for each in asking.questions(unit)}),
        pl.col("sample_id"),
    )
    with (
        context.console.task(description, total, "responses", completed=total - left) as task,
        units.guarded(),
    ):
        progress: _Progress[RequestT] = _Progress(task, units, left)
        feed = Feed(asking, waiting, units, progress.found)
        while feed.ready():
            teacher = asking.teacher()
            concurrency = teacher.info.concurrency
            if concurrency is None and teacher.info.lists > 1:
                frames = _by_lists(asking, teacher, feed, units, progress)
            else:
                requests = progress.counted(feed.requests(concurrency), concurrency)
                frames = asking.ask(teacher, requests, progress.refused)
            for rows in frames:
                units.take(rows)
                progress.took(rows)
            units.write_whole()
            units.check_complete(f"the engine of {teacher.info.model}")
    units.tell()


def _by_lists(
    asking: Asking[RequestT],
    teacher: OpenedTeacher,
    feed: Feed[RequestT],
    units: OpenUnits,
    progress: _Progress[RequestT],
) -> Iterator[pl.DataFrame]:
    """What an engine gives that works on several lists at a time: each is the very list that it would get alone."""

    def following() -> Job[pl.DataFrame] | None:
        if units.count >= AHEAD * teacher.info.lists or not feed.ready():
            return None
        requests = list(feed.requests(None))

        def ask(post: Post) -> Iterator[pl.DataFrame]:
            return asking.ask(teacher, requests, lambda *refused: post(progress.refused, *refused))

        return ask

    return side_by_side(following, lambda: teacher.info.lists)
