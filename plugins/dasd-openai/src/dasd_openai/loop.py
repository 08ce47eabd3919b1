"""An event loop in a thread of its own, so that answers come in while the caller is busy with others."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from itertools import islice
from threading import Thread
from typing import Any, Generic, TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class Loop:
    """Runs coroutines for code that isn't asynchronous."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="dasd-openai", daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._loop.is_closed()

    def run(self, coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Its result; an interruption of the caller cancels it."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def unordered(
        self, items: Iterable[ItemT], ask: Callable[[ItemT], Awaitable[ResultT]], bound: int
    ) -> Iterator[list[tuple[ItemT, ResultT]]]:
        """Each item with its result, ``bound`` at a time, in lists of those that have finished meanwhile.

        Items are read in the caller's thread, a few more than ``bound``, so that none is waited for when one has
        finished. The first error cancels the rest, and so does a caller who stops iterating.
        """
        finished: queue.SimpleQueue[tuple[ItemT, ResultT] | BaseException] = queue.SimpleQueue()
        crew = _Crew(ask, bound, finished)
        unread = iter(items)
        under_way = 0
        try:
            while True:
                more = list(islice(unread, bound + ahead(bound) - under_way))
                if more:
                    self._loop.call_soon_threadsafe(crew.add, more)
                    under_way += len(more)
                if not under_way:
                    return
                batch = [_result(finished.get())]
                while not finished.empty():
                    batch.append(_result(finished.get()))
                under_way -= len(batch)
                yield batch
        finally:
            self.run(crew.dismiss())

    def close(self) -> None:
        """Cancel what still runs, and end the thread."""
        if not self.closed:
            self.run(_cancel_others())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


def _result(found: tuple[ItemT, ResultT] | BaseException) -> tuple[ItemT, ResultT]:
    if isinstance(found, BaseException):
        raise found
    return found


def ahead(bound: int) -> int:
    """Items that wait for a place among ``bound``, while the caller is busy with results."""
    return 8 + bound // 4


class _Crew(Generic[ItemT, ResultT]):
    """At most ``bound`` tasks that ask one item after another. Used in the loop's thread."""

    def __init__(
        self,
        ask: Callable[[ItemT], Awaitable[ResultT]],
        bound: int,
        finished: queue.SimpleQueue[tuple[ItemT, ResultT] | BaseException],
    ) -> None:
        self._ask = ask
        self._bound = bound
        self._finished = finished
        self._waiting: asyncio.Queue[ItemT] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, items: Sequence[ItemT]) -> None:
        """More of them."""
        for item in items:
            self._waiting.put_nowait(item)
        for _ in range(min(len(items), self._bound - len(self._tasks))):
            self._tasks.append(asyncio.create_task(self._work()))

    async def dismiss(self) -> None:
        """Cancel what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _work(self) -> None:
        try:
            while True:
                item = await self._waiting.get()
                self._finished.put((item, await self._ask(item)))
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread that waits raises it
            self._finished.put(error)


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
