"""The replicas of one engine: started, compared, lent to whoever asks, and replaced where they die."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import ray

from dasd.api import BackendError, DasdError, ModelInfo, ModelSettings, OpenedTeacher
from dasd_ray.capacity import alive, described, device_kind, need_of, wanted
from dasd_ray.head import Head
from dasd_ray.items import Opened
from dasd_ray.member import LostError, Member, fetch
from dasd_ray.options import RayOptions

__all__ = ["Fleet"]

LOOK_SECONDS = 0.5
"""How often the cluster is looked at for nodes that came or went."""
LEAVE_SECONDS = 2.0
"""What threads that wait for a replica may take to leave it."""
CLOSE_SECONDS = 10.0
"""What engines may take to close before their processes are ended."""
_SAME = (
    "model_revision",
    "tokenizer_hash",
    "engine",
    "engine_version",
    "logprobs_mode",
    "context_length",
    "continues",
)
"""Of ``ModelInfo``: what replicas must have in common, as rows tell it or it changes what they give."""


class Fleet:
    """Replicas of one engine. A thread of its own starts them, and looks after them."""

    def __init__(
        self,
        settings: ModelSettings,
        start: Callable[[ModelSettings], OpenedTeacher],
        options: RayOptions,
        head: Head,
    ) -> None:
        """Start replicas, and wait for the first one.

        Raises what the engine raises for wrong input, and BackendError where no replica comes to be in
        ``options.start_seconds`` or they die as they start.
        """
        self.options = options
        self.head = head
        self._settings, self._start = settings, start
        self._need = need_of(options, settings, ray.nodes())
        self._changed = threading.Condition()
        self._starting: dict[Any, Member] = {}
        self._idle: deque[Member] = deque()
        self._lent: set[Member] = set()
        self._first: tuple[Opened, str] | None = None
        self._failures = 0
        self._failure: DasdError | None = None
        self._closed = False
        self._empty_since = time.monotonic()
        self._thread = threading.Thread(target=self._look_after, daemon=True)
        self._thread.start()
        try:
            self.give_back(self.take())
        except BaseException:
            self.close()
            raise

    @property
    def info(self) -> ModelInfo:
        """Of one engine that is as large as all together."""
        assert self._first is not None
        with self._changed:
            count = max(1, len(self._idle) + len(self._lent) + len(self._starting))
        info = self._first[0].info
        if info.concurrency is not None:
            return replace(info, concurrency=info.concurrency * count)
        # One list more than there are replicas: it waits for the first that is free.
        return replace(info, lists=count + 1)

    @property
    def each(self) -> int | None:
        """Requests that one replica works on at a time; None: it takes lists."""
        assert self._first is not None
        return self._first[0].info.concurrency

    # -- lending -----------------------------------------------------------------------------------

    def take(self) -> Member:
        """A replica that does nothing, once there is one. Raises BackendError where none can come."""
        while (member := self.take_idle()) is None:
            with self._changed:
                # Short waits: with the signal handlers that polars sets, Ctrl-C doesn't end a wait for a lock.
                self._changed.wait(0.1)
        return member

    def take_idle(self) -> Member | None:
        """A replica that does nothing, if there is one now. Raises as ``take``."""
        self.head.check()
        with self._changed:
            if self._failure is not None:
                raise self._failure
            if self._closed:
                raise BackendError("the engine is closed; open the model again")
            if self._idle:
                member = self._idle.popleft()
                self._lent.add(member)
                return member
            if not self._lent and time.monotonic() - self._empty_since > self.options.start_seconds:
                raise BackendError(
                    f"no replica could start in {self.options.start_seconds:g} s: each needs {self._need} on one node, "
                    f"and the cluster has {described(ray.nodes())}; change executor.options.resources or bring nodes. "
                    "What is finished is kept: give the same command again"
                )
            return None

    def give_back(self, member: Member) -> None:
        """It does nothing again."""
        with self._changed:
            self._lent.discard(member)
            self._idle.append(member)
            self._empty_since = time.monotonic()
            self._changed.notify_all()

    def lost(self, member: Member) -> None:
        """It is no more; another one takes its place."""
        with self._changed:
            self._lent.discard(member)
            self._empty_since = time.monotonic()
            closed = self._closed
            self._changed.notify_all()
        if not closed:
            # In a thread: without a head it waits for one.
            threading.Thread(target=member.kill, daemon=True).start()

    # -- looking after them, in a thread of its own --------------------------------------------------

    def _look_after(self) -> None:
        try:
            while not self._closed and self._failure is None:
                nodes = ray.nodes()
                self._drop_gone({node["NodeID"] for node in alive(nodes)})
                with self._changed:
                    present = len(self._idle) + len(self._lent) + len(self._starting)
                    missing = 0 if self._closed else wanted(self.options, self._need, nodes) - present
                for _ in range(missing):
                    self._ask_for_one()
                with self._changed:
                    starting = list(self._starting)
                if starting:
                    for opening in ray.wait(starting, num_returns=1, timeout=LOOK_SECONDS)[0]:
                        self._admit(self._starting[opening])
                else:
                    with self._changed:
                        self._changed.wait(LOOK_SECONDS)
        except Exception as error:  # noqa: BLE001 (raised by whoever waits for a replica)
            if not self._closed:
                self._fail(
                    BackendError(
                        f"the Ray cluster can't be asked any more: {error}. What is finished is kept: give the same "
                        "command again"
                    )
                )

    def _ask_for_one(self) -> None:
        need = self._need
        member = Member(need.cpus, need.gpus, dict(need.others), self._settings, self._start, self.head.check)
        with self._changed:
            if not self._closed:
                self._starting[member.opening] = member
                return
        member.kill()

    def _drop_gone(self, there: set[str]) -> None:
        """Idle replicas whose node is gone; those that are lent are found out by who has them."""
        with self._changed:
            for member in list(self._idle):
                if member.opened is not None and member.opened.node not in there:
                    self._idle.remove(member)

    def _admit(self, member: Member) -> None:
        """One whose engine is open, or failed to."""
        try:
            opened: Opened = fetch(member.opening)
            node = next((node for node in ray.nodes() if node["NodeID"] == opened.node), None)
            if node is None:
                raise LostError(f"its node {opened.host} is gone")
        except LostError as error:
            with self._changed:
                del self._starting[member.opening]
                self._failures += 1
                failed = self._failures > self.options.retries
            member.kill()
            if failed:
                text = f"replicas die as they start, {self._failures} in a row; the last one: {error}"
                self._fail(BackendError(text))
            return
        except DasdError as error:
            self._fail(error)
            return
        member.opened = opened
        kind = device_kind(self._need, node)
        with self._changed:
            del self._starting[member.opening]
            self._failures = 0
            if self._first is None:
                self._first = opened, kind
            different = _difference(self._first, (opened, kind))
            if different is None:
                self._idle.append(member)
                self._empty_since = time.monotonic()
                self._changed.notify_all()
        if different is not None:
            self._fail(BackendError(different))

    def _fail(self, error: DasdError) -> None:
        with self._changed:
            self._failure = error
            self._changed.notify_all()

    # -- the end -----------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the engines and end their processes, whatever they do."""
        with self._changed:
            self._closed = True
            idle, others = list(self._idle), [*self._lent, *self._starting.values()]
            self._idle.clear()
            self._starting.clear()
            self._changed.notify_all()
        if self.head.lost:
            leaving = [member.leave() for member in (*idle, *others)]
            if leaving:
                ray.wait(leaving, num_returns=len(leaving), timeout=LEAVE_SECONDS)
            return
        try:
            for member in others:
                member.kill()
            with self._changed:  # whoever waits for one of them is told by its end
                self._changed.wait_for(lambda: not self._lent, LEAVE_SECONDS)
            if idle:
                ray.wait([member.close() for member in idle], num_returns=len(idle), timeout=CLOSE_SECONDS)
        finally:
            for member in idle:
                with suppress(ValueError):
                    member.kill()
            self._thread.join(CLOSE_SECONDS)


def _difference(first: tuple[Opened, str], other: tuple[Opened, str]) -> str | None:
    """In words, what sets two replicas apart; None for two of one kind."""
    (one, kind), (two, other_kind) = first, other
    pairs = [("device", kind, other_kind), ("dasd", one.dasd, two.dasd)]
    pairs += [(name, getattr(one.info, name), getattr(two.info, name)) for name in _SAME]
    for name, here, there in pairs:
        if here != there:
            return (
                f"the replicas differ in {name}: {here} on {one.host}, {there} on {two.host}; wanted the same on every "
                "node, as rows of one stage say one engine. Bring the nodes to the same versions, weights and devices, "
                "or choose some of them by executor.options.resources.others"
            )
    return None
