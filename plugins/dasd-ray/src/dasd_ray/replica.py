"""The actor: one engine in a process of its own, on whichever node Ray puts it.

All that touches the engine runs in one thread. The methods that Ray calls return within about a second, so that a call
can be cancelled and its requests follow while the engine works.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version

import ray

from dasd.api import DasdError, ModelSettings, OpenedTeacher, SamplingSpec, ScoringSpec
from dasd_ray.items import MOST_BYTES, Item, Kind, Opened, Refused, Request, pieces

__all__ = ["Replica"]

STEP_SECONDS = 1.0
"""How long a step waits for something to hand back."""
LEAVE_SECONDS = 0.2
HELD = 64
"""Pieces and refusals that wait to be fetched, at most; then the engine waits."""


class Replica:
    """Opens an engine and asks it one call after another."""

    def __init__(self) -> None:
        self._engine = ThreadPoolExecutor(1, "engine")
        self._teacher: OpenedTeacher | None = None
        self._call: _Call | None = None

    def open(self, settings: ModelSettings, start: Callable[[ModelSettings], OpenedTeacher]) -> Opened:
        """Start the engine. Raises what it does, with the node's address."""
        host = ray.util.get_node_ip_address()
        try:
            self._teacher = self._engine.submit(start, settings).result()
        except DasdError as error:
            error.args = (f"{error} (on {host})", *error.args[1:])
            raise
        node = ray.get_runtime_context().get_node_id()
        return Opened(self._teacher.info, node, host, os.getpid(), version("dasd"))

    def begin(
        self, kind: Kind, requests: Sequence[Request], spec: SamplingSpec | ScoringSpec, last: bool
    ) -> None:
        """Begin a call with some requests; others follow unless they are the ``last`` ones."""
        assert self._teacher is not None
        self.cancel()
        self._call = _Call(requests, last)
        self._engine.submit(self._call.run, self._teacher, kind, spec)

    def step(self, following: Sequence[Request] = (), last: bool = False) -> list[Item]:
        """What has come since the step before, perhaps nothing; ``following`` requests go to the engine first.

        Raises what the engine raised, once everything before it is fetched.
        """
        assert self._call is not None
        if following or last:
            self._call.follow(following, last)
        return self._call.fetch()

    def cancel(self) -> None:
        """End the call that is under way, after the frame that is being made."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def leave(self) -> None:
        """End this process, once that is answered: nobody is left who could."""
        threading.Timer(LEAVE_SECONDS, os._exit, (0,)).start()

    def close(self) -> None:
        """Close the engine."""
        self.cancel()
        if self._teacher is not None:
            self._engine.submit(self._teacher.close).result()
        self._engine.shutdown()


class _CancelledError(Exception):
    """Nobody waits for the call any more."""


class _Call:
    """What passes between the engine's thread and the actor's methods."""

    def __init__(self, requests: Sequence[Request], last: bool) -> None:
        self._waiting = deque(requests)
        self._last = last
        self._following: queue.SimpleQueue[tuple[Sequence[Request], bool] | None] = queue.SimpleQueue()
        self._items: queue.Queue[Item | BaseException] = queue.Queue(HELD)
        self._failed: BaseException | None = None
        self._cancelled = threading.Event()

    def follow(self, requests: Sequence[Request], last: bool) -> None:
        """More requests."""
        self._following.put((requests, last))

    def fetch(self) -> list[Item]:
        """What is there, at most about ``MOST_BYTES`` of it; waits for the first."""
        found: list[Item] = []
        size = 0
        wait = STEP_SECONDS
        while self._failed is None and size < MOST_BYTES:
            try:
                item = self._items.get(timeout=wait) if not found else self._items.get_nowait()
            except queue.Empty:
                break
            if isinstance(item, BaseException):
                self._failed = item
            else:
                found.append(item)
                size += len(item) if isinstance(item, bytes) else 0
        if self._failed is not None and not found:
            raise self._failed
        return found

    def cancel(self) -> None:
        """End it."""
        self._cancelled.set()
        self._following.put(None)

    # -- in the engine's thread --------------------------------------------------------------------

    def run(self, teacher: OpenedTeacher, kind: Kind, spec: SamplingSpec | ScoringSpec) -> None:
        """Ask the engine."""
        try:
            frames = getattr(teacher, kind)(self._requests(), replace(spec, on_refused=self._refuse))
            try:
                for frame in frames:
                    for piece in pieces(frame):
                        self._put(piece)
            finally:
                frames.close()
            self._put("end")
        except _CancelledError:
            pass
        except BaseException as error:  # noqa: BLE001 (raised where it is waited for)
            with suppress(_CancelledError):
                self._put(error)

    def _refuse(self, sample_id: str, reason: str) -> None:
        self._put(Refused(sample_id, reason))

    def _put(self, item: Item | BaseException) -> None:
        while not self._cancelled.is_set():
            try:
                return self._items.put(item, timeout=STEP_SECONDS)
            except queue.Full:
                continue
        raise _CancelledError

    def _requests(self) -> Iterator[Request]:
        """Requests as they come; the driver is told when half of them are read."""
        low, hungry = len(self._waiting) // 2, False
        while self._waiting or not self._last:
            if not self._last and not hungry and len(self._waiting) <= low:
                self._put("hungry")
                hungry = True
            if self._waiting and self._following.empty():
                yield self._waiting.popleft()
                continue
            more = self._following.get()
            if more is None:
                raise _CancelledError
            self._waiting.extend(more[0])
            self._last, hungry = more[1], False
