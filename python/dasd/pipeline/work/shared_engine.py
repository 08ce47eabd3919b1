"""One engine that is kept full by several who ask it at a time, each in a thread of its own.

Who asks (an evaluator) sees an engine, and grades what it is given while others are answered. Their calls that differ
in nothing but names and caps on tokens are made as one: requests of the next flow in while the last answers of the one
before are awaited. The engine itself runs in the thread that calls ``SharedEngine.run``; so does all that is posted.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, Literal, TypeVar

import polars as pl

from dasd.base.records import (
    ContinueRequest,
    ModelInfo,
    SampleRequest,
    SamplingSpec,
    ScoreRequest,
    ScoringSpec,
)
from dasd.errors import BackendError
from dasd.pipeline.work.side_by_side import Jobs, Post
from dasd.plugins.roles import OpenedTeacher, Teacher

__all__ = ["SharedEngine", "Work"]

T = TypeVar("T")
Work = Callable[[Teacher, Post], Iterator[T]]
"""What one who asks does with the engine that it is given."""
Way = Literal["sample", "continue_", "score"]

STOPPING_SECONDS = 10.0
"""After an error or Ctrl-C, this long at most is waited for what is done with answers that were given before."""
_STOPPED = "the engine has stopped"


@dataclass(eq=False, slots=True)
class _Call:
    """One call of an engine's method. All but ``answers`` belongs to the engine's thread."""

    asker: _Asker
    way: Way
    requests: list[Any]
    spec: Any
    answers: queue.SimpleQueue[pl.DataFrame | tuple[str, str] | None] = field(
        default_factory=queue.SimpleQueue
    )
    """Rows, or sample_id and reason of what was refused; None: no more come, as nothing is left or it has stopped."""
    left: int = 0
    """Requests without row or refusal."""
    untaken: int = 0
    """Rows that were given and not yet done with."""
    waiting: bool = True
    """Whether its asker does nothing but wait for an answer, or was about to."""
    closed: bool = False

    @property
    def kind(self) -> Hashable:
        """Equal of calls that can be made as one: requests have caps of their own."""
        spec = self.spec
        if isinstance(spec, ScoringSpec):
            return self.way, spec.token_budget
        return self.way, spec.temperature, spec.top_p

    def give(self, answer: pl.DataFrame | tuple[str, str] | None) -> None:
        if isinstance(answer, pl.DataFrame):
            self.untaken += answer.height
        self.waiting = False
        self.answers.put(answer)


class _Asker:
    """The engine as one who asks sees it, in a thread of its own; what changes belongs to the engine's thread."""

    def __init__(self, info: ModelInfo, called: Callable[[_Call], None]) -> None:
        self.info = info
        self.calls: list[_Call] = []
        self.ended = False
        self.post: Post
        self._called = called

    def sample(self, requests: Iterable[SampleRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        """As ``Teacher.sample``."""
        return self._ask(_Call(self, "sample", list(requests), spec))

    def continue_(self, requests: Iterable[ContinueRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        """As ``Teacher.continue_``."""
        return self._ask(_Call(self, "continue_", list(requests), spec))

    def score(self, requests: Iterable[ScoreRequest], spec: ScoringSpec) -> Iterator[pl.DataFrame]:
        """As ``Teacher.score``."""
        return self._ask(_Call(self, "score", list(requests), spec))

    def close(self) -> None:
        """It is not this one's to close."""

    def _ask(self, call: _Call) -> Iterator[pl.DataFrame]:
        call.left = len(call.requests)
        if not call.left:
            return
        self.post(self._called, call)
        try:
            while True:
                if call.answers.empty():
                    self.post(setattr, call, "waiting", True)
                answer = call.answers.get()
                if answer is None:
                    break
                if isinstance(answer, tuple):
                    call.spec.on_refused(*answer)
                else:
                    yield answer
                    self.post(_taken, call, answer.height)
        finally:
            self.post(_close, call)
        if call.left:
            raise BackendError(_STOPPED)


def _taken(call: _Call, height: int) -> None:
    call.untaken -= height


def _close(call: _Call) -> None:
    call.closed = True
    call.asker.calls.remove(call)


class SharedEngine(Generic[T]):
    """Begins work as the engine has room for its requests, and answers what all of it asks."""

    def __init__(
        self,
        teacher: OpenedTeacher,
        concurrency: int,
        following: Callable[[], Work[T] | None],
        take: Callable[[T], None],
    ) -> None:
        """``concurrency``: of the engine. ``following``: the next work; None: there is none, or no room for it now.

        ``take`` gets what work gives.
        """
        self._teacher = teacher
        self._concurrency = concurrency
        self._following = following
        self._take = take
        self._jobs: Jobs[T] = Jobs()
        self._askers: list[_Asker] = []
        self._queued: list[_Call] = []
        self._of: dict[str, _Call] = {}
        self._stopped = False

    def run(self) -> None:
        """Until all work is done. Raises the first error of it or of the engine, once what was given is taken."""
        try:
            while (call := self._first()) is not None:
                self._answer(call)
        except BaseException:
            self._wind_up()
            raise
        finally:
            self._jobs.stop()

    def _first(self) -> _Call | None:
        """The first call that isn't answered; work is begun until there is one."""
        while True:
            while not all(map(self._settled, self._askers)):
                self._step()
            if self._queued:
                return self._in_order()[0]
            if not self._begin():
                return None

    def _in_order(self) -> list[_Call]:
        """Calls that wait, of earlier work first: threads may have made them in any order."""
        return sorted(self._queued, key=lambda call: self._askers.index(call.asker))

    def _begin(self) -> bool:
        """Begin the next work, and wait until it asks or ends; False if there is none, or no room."""
        work = self._following()
        if work is None:
            return False
        asker = _Asker(self._teacher.info, self._called)
        self._askers.append(asker)
        self._jobs.begin(partial(self._job, work, asker))
        while not self._settled(asker):
            self._step()
        return True

    def _settled(self, asker: _Asker) -> bool:
        """Whether it has ended, or asks for what isn't under way yet."""
        return asker.ended or any(call.asker is asker for call in self._queued)

    def _job(self, work: Work[T], asker: _Asker, post: Post) -> Iterator[T]:
        asker.post = post
        try:
            yield from work(asker, post)
        finally:
            post(setattr, asker, "ended", True)

    def _step(self) -> None:
        given = self._jobs.take()
        if given is not None:
            self._take(given)

    def _called(self, call: _Call) -> None:
        call.asker.calls.append(call)
        if self._stopped:
            call.give(None)
        else:
            self._queued.append(call)

    def _answer(self, first: _Call) -> None:
        """One call of the engine: all calls of one kind, the later ones as they come."""
        spec = replace(first.spec, stage="evaluate", on_refused=self._refused)
        for rows in getattr(self._teacher, first.way)(self._requests(first.kind), spec):
            self._hand_out(rows)
            while self._jobs.ready or self._behind():
                self._step()

    def _behind(self) -> bool:
        """Whether too many answers wait for those who asked; a kill would cost them."""
        if sum(call.untaken for asker in self._askers for call in asker.calls) <= self._concurrency:
            return False
        return not all(a.ended or any(call.waiting for call in a.calls) for a in self._askers)

    def _requests(self, kind: Hashable) -> Iterator[Any]:
        while (call := self._next(kind)) is not None:
            for request in call.requests:
                if call.closed:
                    break
                self._of[request.sample_id] = call
                if isinstance(call.spec, SamplingSpec):
                    request = replace(request, max_tokens=request.max_tokens or call.spec.max_tokens)
                yield request

    def _next(self, kind: Hashable) -> _Call | None:
        """A call of that kind; None: work that is under way has made none, and no more can be begun."""
        while True:
            while self._jobs.ready:
                self._step()
            for call in self._in_order():
                # One engine call knows its requests by their names.
                if call.kind == kind and not any(each.sample_id in self._of for each in call.requests):
                    self._queued.remove(call)
                    return call
            if not self._begin():
                return None

    def _hand_out(self, rows: pl.DataFrame) -> None:
        places: dict[_Call, list[int]] = {}
        for place, sample_id in enumerate(rows.get_column("sample_id")):
            places.setdefault(self._of.pop(sample_id), []).append(place)
        for call, own in places.items():
            part = rows if len(own) == rows.height else rows[own]
            if "stage" in part.columns:
                part = part.with_columns(stage=pl.lit(call.spec.stage))
            self._give(call, part, part.height)

    def _refused(self, sample_id: str, reason: str) -> None:
        self._give(self._of.pop(sample_id), (sample_id, reason), 1)

    def _give(self, call: _Call, answer: pl.DataFrame | tuple[str, str], count: int) -> None:
        if call.closed:
            return
        call.left -= count
        call.give(answer)
        if not call.left:
            call.give(None)

    def _wind_up(self) -> None:
        """What is done with answers that were given is taken, if it doesn't last; nobody gets another."""
        self._stopped = True
        for asker in self._askers:
            for call in asker.calls:
                call.give(None)
        until = time.monotonic() + STOPPING_SECONDS
        while self._jobs.running and time.monotonic() < until:
            with suppress(Exception):
                self._step()
