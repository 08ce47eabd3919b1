"""Executors that each break one promise; run by test_suites_catch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

import polars as pl
from tests.plugins.broken import Broken

from dasd.api import BackendError, DasdError, ModelSettings, OpenedTeacher
from dasd.testing import ExecutorSuite


class Opens:
    """Engines here, as they should be."""

    def open(self, settings: ModelSettings, start: Callable[[ModelSettings], OpenedTeacher]) -> Any:
        return start(settings)

    def close(self) -> None:
        pass


class Executing(Broken, ExecutorSuite):
    Mine: ClassVar[type[Opens]]

    @classmethod
    def make(cls) -> Opens:
        return cls.Mine()


class TestOpensAnotherPrecision(Executing):
    caught = ("test_a_list_gives_the_rows_of_the_engine_here", "the engine here")

    class Mine(Opens):
        def open(self, settings: ModelSettings, start: Callable[[ModelSettings], OpenedTeacher]) -> Any:
            return start(settings.model_copy(update={"precision": "bf16"}))


class ReadsAll:
    def __init__(self, inner: OpenedTeacher) -> None:
        self.info, self.close, self._inner = inner.info, inner.close, inner

    def sample(self, requests: Iterable[Any], spec: Any) -> Iterator[pl.DataFrame]:
        return self._inner.sample(list(requests), spec)

    continue_ = score = sample


class TestReadsAllRequestsFirst(Executing):
    caught = ("test_an_iterator_is_read_as_rows_come", "requests were read before rows came")

    class Mine(Opens):
        def open(self, settings: ModelSettings, start: Callable[[ModelSettings], OpenedTeacher]) -> Any:
            return ReadsAll(start(settings))


class TestMakesEveryErrorOne(Executing):
    caught = ("test_an_error_of_the_engine_keeps_its_type", "by the executor BackendError")

    class Mine(Opens):
        def open(self, settings: ModelSettings, start: Callable[[ModelSettings], OpenedTeacher]) -> Any:
            try:
                return start(settings)
            except DasdError as error:
                raise BackendError(str(error)) from error


class TestOpensNothingOnceItWasClosed(Executing):
    caught = ("test_closing_ends_the_engines_and_another_may_be_opened", "it is closed")

    class Mine(Opens):
        closed = False

        def open(self, settings: ModelSettings, start: Callable[[ModelSettings], OpenedTeacher]) -> Any:
            if self.closed:
                raise BackendError("it is closed")
            return start(settings)

        def close(self) -> None:
            self.closed = True


class TestSaysThatItLaunches(Executing):
    capabilities: ClassVar[dict[str, bool]] = {"launches": True}
    caught = ("test_it_starts_processes_on_its_hosts", "returned a Mine without hosts")

    class Mine(Opens):
        pass
