"""An event loop in a thread of its own, so that answers come in while the caller is busy with others."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from threading import Thread
from typing import Any, TypeVar

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
        self, items: Sequence[ItemT], ask: Callable[[ItemT], Awaitable[ResultT]], bound: int
    ) -> Iterator[list[tuple[ItemT, ResultT]]]:
        """Each item with its result, ``bound`` at a time, in lists of those that have finished meanwhile.

        The first error cancels the rest, and so does a caller who stops iterating.
        """
        finished: queue.SimpleQueue[tuple[ItemT, ResultT] | BaseException] = queue.SimpleQueue()
        future = asyncio.run_coroutine_threadsafe(_ask_all(items, ask, bound, finished), self._loop)
        left = len(items)
        try:
            while left:
                batch = [_result(finished.get())]
                while not finished.empty():
                    batch.append(_result(finished.get()))
                left -= len(batch)
                yield batch
        finally:
            future.cancel()

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


async def _ask_all(
    items: Sequence[ItemT],
    ask: Callable[[ItemT], Awaitable[ResultT]],
    bound: int,
    finished: queue.SimpleQueue[tuple[ItemT, ResultT] | BaseException],
) -> None:
    waiting = iter(items)

    async def work() -> None:
        for item in waiting:
            finished.put((item, await ask(item)))

    workers = [asyncio.create_task(work()) for _ in range(min(bound, len(items)))]
    try:
        await asyncio.gather(*workers)
    except Exception as error:  # noqa: BLE001 - whatever it is, the thread that waits raises it
        finished.put(error)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
