"""Several calls of an engine at a time, each in a thread; all that comes of them happens in the thread that asks.

For an engine that takes lists and works on several of them (``ModelInfo.lists``).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol, TypeVar

__all__ = ["Post", "side_by_side"]

T = TypeVar("T")

_PATIENCE = 0.2


class Post(Protocol):
    """Has a function called by the thread that asks, after all that was given before."""

    def __call__(self, function: Callable[..., object], *arguments: object) -> None:
        """Returns at once."""
        ...


Job = Callable[[Post], Iterator[T]]


def side_by_side(following: Callable[[], Job[T] | None], most: Callable[[], int]) -> Iterator[T]:
    """What the jobs give, as it comes; the ``following`` one is begun where fewer than ``most()`` run.

    None says that there is none now; it ends where none runs either. What jobs ``post`` is called here, in the calling
    thread, and their first exception raised. Then, and when this is closed early, the jobs that run end with what they
    are waiting for; nobody waits for them, as whoever closes their engine ends that.
    """
    events: queue.SimpleQueue[Callable[[], T | None]] = queue.SimpleQueue()
    stop = threading.Event()
    running = 0

    def ended() -> None:
        nonlocal running
        running -= 1

    try:
        while True:
            while running < most() and (job := following()) is not None:
                running += 1
                threading.Thread(target=_work, args=(job, events, ended, stop), daemon=True).start()
            if not running:
                return
            try:
                # Short waits: with the signal handlers that polars sets, Ctrl-C doesn't end a wait for a lock.
                event = events.get(timeout=_PATIENCE)
            except queue.Empty:
                continue
            given = event()
            if given is not None:
                yield given
    finally:
        stop.set()


def _work(
    job: Job[T],
    events: queue.SimpleQueue[Callable[[], T | None]],
    ended: Callable[[], None],
    stop: threading.Event,
) -> None:
    """One job, in a thread of its own."""

    def post(function: Callable[..., object], *arguments: object) -> None:
        def call() -> None:
            function(*arguments)

        events.put(call)

    try:
        for each in job(post):
            events.put(partial(_same, each))
            if stop.is_set():
                return
    except BaseException as error:  # noqa: BLE001 (raised in the thread that asks)
        events.put(partial(_raise, error))
    events.put(ended)


def _same(each: T) -> T:
    return each


def _raise(error: BaseException) -> None:
    raise error
