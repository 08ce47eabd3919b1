"""Teachers that say how many requests they work on at a time and break a promise about it; run by test_suites_catch."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import Any

import polars as pl
from tests.plugins.broken_teachers import Engine, Suite

from dasd.api import BackendError, ModelInfo

READS = "test_it_reads_requests_as_rows_come"
LEFT = "test_it_goes_on_after_a_caller_who_left"


class Fed(Engine):
    """Reads four requests, answers them, and reads the next."""

    @property
    def info(self) -> ModelInfo:
        return replace(super().info, concurrency=4)

    def sample(self, requests: Iterable[Any], spec: Any) -> Iterator[pl.DataFrame]:
        unread = iter(requests)
        while some := self.read(unread):
            yield from super().sample(some, spec)

    def read(self, unread: Iterator[Any]) -> list[Any]:
        return list(islice(unread, 4))


class TestReadsAllFirst(Suite):
    caught = (READS, "before it gave a row")

    class Mine(Fed):
        def read(self, unread: Iterator[Any]) -> list[Any]:
            return list(unread)


class TestReadsFarAhead(Suite):
    caught = (READS, "30 requests were read and not answered; wanted at most 25")

    class Mine(Fed):
        def read(self, unread: Iterator[Any]) -> list[Any]:
            return list(islice(unread, 30))


class TestReadsOneAtATime(Suite):
    caught = ("test_it_works_on_as_many_requests_as_it_says", "at most 1 requests were under way")

    class Mine(Fed):
        def read(self, unread: Iterator[Any]) -> list[Any]:
            return list(islice(unread, 1))


class TestReadsInAThread(Suite):
    caught = ("test_it_reads_in_the_thread_that_takes_the_rows", "in another thread")

    class Mine(Fed):
        def read(self, unread: Iterator[Any]) -> list[Any]:
            with ThreadPoolExecutor(1) as pool:
                return pool.submit(super().read, unread).result()


class TestLosesTheLastOnes(Suite):
    caught = ("test_every_request_of_an_iterator_gives_one_row", "returned no samples row for 1 of 37")

    class Mine(Fed):
        def read(self, unread: Iterator[Any]) -> list[Any]:
            some = super().read(unread)
            return some if len(some) == 4 else []


class TestKeepsRowsOfACallerWhoLeft(Suite):
    caught = (LEFT, "that nobody asked for")

    class Mine(Fed):
        def sample(self, requests: Iterable[Any], spec: Any) -> Iterator[pl.DataFrame]:
            for rows in super().sample(requests, spec):
                self.finished.extend(rows[i] for i in range(rows.height))
                while self.finished:
                    yield self.finished.popleft()

        def __init__(self, settings: Any) -> None:
            super().__init__(settings)
            self.finished: deque[pl.DataFrame] = deque()


class TestSaysAnotherError(Suite):
    caught = ("test_an_error_of_the_requests_comes_out_as_it_is", "what came out is BackendError")

    class Mine(Fed):
        def read(self, unread: Iterator[Any]) -> list[Any]:
            try:
                return super().read(unread)
            except Exception as error:
                raise BackendError("the engine failed") from error
