"""Several jobs at a time, each in a thread; all that comes of them happens in the thread that began them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Generic, Protocol, TypeVar

__all__ = ["Job", "Jobs", "Post", "side_by_side"]

T = TypeVar("T")

_PATIENCE = 0.2


class Post(Protocol):
    """Has a function called by the thread that asks, after all that was given before."""

    def __call__(self, function: Callable[..., object], *arguments: object) -> None:
        """Returns at once."""
        ...


Job = Callable[[Post], Iterator[T]]


class Jobs(Generic[T]):
    """Jobs that run, each in a thread of its own, and what has come of them."""

    def __init__(self) -> None:
        self.running = 0
        """Jobs whose end hasn't been taken."""
        self._events: queue.SimpleQueue[Callable[[], T | None]] = queue.SimpleQueue()
        self._stop = threading.Event()

    def begin(self, job: Job[T]) -> None:
        """Start one."""
        self.running += 1
        threading.Thread(target=self._work, args=(job,), daemon=True).start()

    @property
    def ready(self) -> bool:
        """Whether ``take`` has something to do."""
        return not self._events.empty()

    def take(self) -> T | None:
        """What a job gave, in the order in which it came; waits a moment for it.

        None: nothing came yet, or a function that a job posted, which is called here. Raises what a job raised.
        """
        try:
            # Short waits: with the signal handlers that polars sets, Ctrl-C doesn't end a wait for a lock.
            event = self._events.get(timeout=_PATIENCE)
        except queue.Empty:
            return None
        return event()

    def stop(self) -> None:
        """Those that run end with what they are waiting for; nobody waits for them."""
        self._stop.set()

    def _ended(self) -> None:
        self.running -= 1

    def _work(self, job: Job[T]) -> None:
        """One job, in its thread."""

        def post(function: Callable[..., object], *arguments: object) -> None:
            def call() -> None:
                function(*arguments)

            self._events.put(call)

        try:
            for each in job(post):
                self._events.put(partial(_same, each))
                if self._stop.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 (raised in the thread that asks)
            self._events.put(partial(_raise, error))
        self._events.put(self._ended)


def side_by_side(following: Callable[[], Job[T] | None], most: Callable[[], int]) -> Iterator[T]:
    """What the jobs give, as it comes; the ``following`` one is begun where fewer than ``most()`` run.

    None says that there is none now; it ends where none runs either. What jobs ``post`` is called here, in the calling
    thread, and their first exception raised. Then, and when this is closed early, the jobs that run end with what they
    are waiting for; nobody waits for them, as whoever closes their engine ends that.
    """
    jobs: Jobs[T] = Jobs()
    try:
        while True:
            while jobs.running < most() and (job := following()) is not None:
                jobs.begin(job)
            if not jobs.running:
                return
            given = jobs.take()
            if given is not None:
                yield given
    finally:
        jobs.stop()


def _same(each: T) -> T:
    return each


def _raise(error: BaseException) -> None:
    raise error
