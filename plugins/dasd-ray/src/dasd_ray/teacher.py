"""One teacher over all replicas: lists go whole to whichever is free, requests to whichever has room."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import polars as pl
import ray

from dasd.api import (
    BackendError,
    ContinueRequest,
    ModelInfo,
    ModelSettings,
    OpenedTeacher,
    SampleRequest,
    SamplingSpec,
    ScoreRequest,
    ScoringSpec,
)
from dasd_ray.fleet import Fleet
from dasd_ray.head import Head
from dasd_ray.items import Item, Kind, Refused, Request, frame_of
from dasd_ray.member import LostError, Member, fetch
from dasd_ray.options import RayOptions

__all__ = ["RayTeacher"]

Spec = SamplingSpec | ScoringSpec

WAIT_SECONDS = 0.5


class RayTeacher:
    """A fleet of replicas as one teacher. Its methods may be called in several threads where it takes lists."""

    def __init__(
        self,
        settings: ModelSettings,
        start: Callable[[ModelSettings], OpenedTeacher],
        options: RayOptions,
        head: Head,
    ) -> None:
        """Start the replicas. Raises as ``Fleet``."""
        self._fleet = Fleet(settings, start, options, head)

    @property
    def info(self) -> ModelInfo:
        """As one replica's, with the concurrency or the lists of all that there are."""
        return self._fleet.info

    def sample(self, requests: Sequence[SampleRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        """As ``Teacher.sample``."""
        return self._asked("sample", requests, spec)

    def continue_(self, requests: Sequence[ContinueRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        """As ``Teacher.continue_``."""
        return self._asked("continue_", requests, spec)

    def score(self, requests: Sequence[ScoreRequest], spec: ScoringSpec) -> Iterator[pl.DataFrame]:
        """As ``Teacher.score``."""
        return self._asked("score", requests, spec)

    def close(self) -> None:
        """End all replicas; calls that are under way end with BackendError."""
        self._fleet.close()

    def _asked(self, kind: Kind, requests: Sequence[Request], spec: Spec) -> Iterator[pl.DataFrame]:
        if self._fleet.each is None:
            return _whole(self._fleet, kind, requests, spec)
        return _Stream(self._fleet, kind, requests, spec, self._fleet.each).frames()


def _whole(fleet: Fleet, kind: Kind, requests: Sequence[Request], spec: Spec) -> Iterator[pl.DataFrame]:
    """A list on one replica. Where that dies another one gets all of it, so that its batches are the same."""
    left = {request.sample_id for request in requests}
    losses = 0
    while True:
        member = fleet.take()
        lost = True
        try:
            for item in member.ask(kind, requests, spec):
                if isinstance(item, Refused):
                    if item.sample_id in left:
                        left.discard(item.sample_id)
                        spec.on_refused(item.sample_id, item.reason)
                elif isinstance(item, bytes):
                    rows = frame_of(item)
                    rows = rows.filter(
                        pl.Series([each in left for each in rows["sample_id"]], dtype=pl.Boolean)
                    )
                    left.difference_update(rows["sample_id"])
                    if rows.height:
                        yield rows
            lost = False
            return
        except LostError as error:
            losses += 1
            if losses > fleet.options.retries:
                raise _given_up(member, len(requests), requests[0].sample_id, losses, error) from None
        except BaseException:
            lost = False
            with suppress(LostError):
                member.cancel()
            raise
        finally:
            (fleet.lost if lost else fleet.give_back)(member)


class _Stream:
    """A call of an engine that is kept full: requests flow to the replicas as they have room."""

    def __init__(self, fleet: Fleet, kind: Kind, requests: Sequence[Request], spec: Spec, each: int) -> None:
        self._fleet, self._kind, self._spec, self._each = fleet, kind, spec, each
        self._unread = iter(requests)
        self._ended = False
        self._again: deque[Request] = deque()
        self._losses: Counter[str] = Counter()
        self._open: dict[Member, dict[str, Request]] = {}
        """What each replica that works has not given yet."""
        self._steps: dict[Any, Member] = {}

    def frames(self) -> Iterator[pl.DataFrame]:
        """Rows as they come."""
        try:
            while True:
                self._begin()
                if not self._steps:
                    if self._ended and not self._again:
                        return
                    self._begin_on(self._fleet.take())
                    continue
                self._fleet.head.check()
                for reference in ray.wait(list(self._steps), num_returns=1, timeout=WAIT_SECONDS)[0]:
                    yield from self._took(reference)
        finally:
            for member in self._open:
                with suppress(LostError):
                    member.cancel()
                self._fleet.give_back(member)

    def _following(self) -> list[Request]:
        """The next requests for one replica: first those that another one lost."""
        found = [self._again.popleft() for _ in range(min(len(self._again), self._each))]
        if not self._ended:
            read = list(islice(self._unread, self._each - len(found)))
            self._ended = len(read) < self._each - len(found)
            found += read
        return found

    def _begin(self) -> None:
        """Have idle replicas work, while there is something to ask."""
        while (self._again or not self._ended) and (member := self._fleet.take_idle()) is not None:
            self._begin_on(member)

    def _begin_on(self, member: Member) -> None:
        requests = self._following()
        if not requests:
            return self._fleet.give_back(member)
        self._open[member] = {request.sample_id: request for request in requests}
        try:
            member.begin(self._kind, requests, self._spec, last=False)
        except LostError as error:
            return self._lost(member, error)
        self._steps[member.step()] = member
        return None

    def _took(self, reference: Any) -> Iterator[pl.DataFrame]:
        """What a step brought, and the next one asked for."""
        member = self._steps.pop(reference)
        try:
            items: list[Item] = fetch(reference)
        except LostError as error:
            return self._lost(member, error)
        following: list[Request] = []
        last = False
        for item in items:
            if isinstance(item, Refused):
                self._open[member].pop(item.sample_id)
                self._spec.on_refused(item.sample_id, item.reason)
            elif isinstance(item, bytes):
                rows = frame_of(item)
                for sample_id in rows["sample_id"]:
                    self._open[member].pop(sample_id)
                yield rows
            elif item == "hungry":
                following = self._following()
                last = not following
                self._open[member].update({request.sample_id: request for request in following})
        if "end" in items:
            del self._open[member]
            self._fleet.give_back(member)
        else:
            self._steps[member.step(following, last)] = member

    def _lost(self, member: Member, error: LostError) -> None:
        """Its requests are asked again elsewhere."""
        requests = self._open.pop(member)
        self._fleet.lost(member)
        for sample_id, request in requests.items():
            self._losses[sample_id] += 1
            if self._losses[sample_id] > self._fleet.options.retries:
                raise _given_up(member, len(requests), sample_id, self._losses[sample_id], error)
            self._again.append(request)


def _given_up(member: Member, count: int, sample_id: str, losses: int, error: LostError) -> BackendError:
    return BackendError(
        f"{count} requests, the first of them sample {sample_id}, lost their replica {losses} times; the last one, "
        f"{member.place}: {error}. What is finished is kept: give the same command again, or raise "
        "executor.options.retries"
    )
