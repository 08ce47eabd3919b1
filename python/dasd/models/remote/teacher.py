"""A teacher whose engine runs in a worker process of another environment."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import TypeVar

import polars as pl

from dasd.base.records import (
    ContinueRequest,
    ModelInfo,
    OnRefused,
    SampleRequest,
    SamplingSpec,
    ScoreRequest,
    ScoringSpec,
)
from dasd.errors import BackendError, ComponentError
from dasd.models.remote.channel import Kind, Message, frame_of
from dasd.models.remote.messages import Continue, Failure, Open, Refused, Sample, Score, decode, encode
from dasd.models.remote.process import WorkerProcess
from dasd.recipe.model_settings import ModelSettings

__all__ = ["RemoteTeacher"]

RequestT = TypeVar("RequestT", SampleRequest, ContinueRequest, ScoreRequest)


class RemoteTeacher:
    """Speaks to a worker; frames arrive as they finish there, and requests go there as they are wanted.

    A generator that is closed early cancels its request after the frame that is being made; an interrupt
    ends the worker. Requests are served one after another in the order in which they are started.
    """

    def __init__(self, settings: ModelSettings) -> None:
        """Start the worker and the backend in it. ``settings.python`` says where.

        Raises InputError or PluginError for an environment that can't be used, what the backend itself
        raises, BackendError when the worker dies.
        """
        assert settings.python is not None
        self._worker = WorkerProcess(settings.python, "python")
        self._numbers = itertools.count(1)
        self._waiting: dict[int, deque[Message]] = {}
        try:
            self._worker.send("open", body=encode(Open(settings)))
            message = self._worker.receive()
            if message.kind == "error":
                raise self._failure(message)
            self._info = self._worker.read(message, partial(decode, ModelInfo), "ready")
        except BaseException:
            self._worker.close()
            raise

    @property
    def info(self) -> ModelInfo:
        """Of the engine in the worker."""
        return self._info

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._worker.pid

    def sample(self, requests: Iterable[SampleRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        """As ``Teacher.sample``."""
        return self._stream(
            "sample", requests, lambda some, last: Sample(tuple(some), spec, last), spec.on_refused
        )

    def continue_(self, requests: Iterable[ContinueRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        """As ``Teacher.continue_``."""
        return self._stream(
            "continue", requests, lambda some, last: Continue(tuple(some), spec, last), spec.on_refused
        )

    def score(self, requests: Iterable[ScoreRequest], spec: ScoringSpec) -> Iterator[pl.DataFrame]:
        """As ``Teacher.score``."""
        return self._stream(
            "score", requests, lambda some, last: Score(tuple(some), spec, last), spec.on_refused
        )

    def close(self) -> None:
        """Close the engine and end the worker."""
        self._worker.close()

    def _stream(
        self,
        kind: Kind,
        requests: Iterable[RequestT],
        packed: Callable[[list[RequestT], bool], Sample | Continue | Score],
        on_refused: OnRefused,
    ) -> Iterator[pl.DataFrame]:
        number = next(self._numbers)
        self._waiting[number] = deque()
        unread = iter(requests)
        some = self._info.concurrency

        def following() -> bytes:
            """As many as the engine works on at a time, or of one that takes lists all."""
            read = list(islice(unread, some))
            return encode(packed(read, some is None or len(read) < some))

        under_way = False
        try:
            self._worker.send(kind, number, following())
            under_way = True
            while (message := self._next(number)).kind in ("frame", "refused", "hungry"):
                if message.kind == "frame":
                    yield self._worker.read(message, frame_of, "frame")
                elif message.kind == "hungry":
                    self._worker.read(message, len, "hungry")
                    self._worker.send("more", number, following())
                else:
                    refused = self._worker.read(message, partial(decode, Refused), "refused")
                    on_refused(refused.sample_id, refused.reason)
            under_way = False
            if message.kind == "error":
                raise self._failure(message)
            self._worker.read(message, len, "end")
        except (KeyboardInterrupt, SystemExit):
            self._worker.close()  # a message may be half sent or half read
            raise
        except BaseException:  # the caller left, the making of requests failed, or a refusal is an error
            if under_way:
                with suppress(BackendError):  # a dead worker has nothing to cancel
                    self._worker.send("cancel", number)
            raise
        finally:
            del self._waiting[number]

    def _next(self, number: int) -> Message:
        """The next message of a request. Those of others wait for them; those of cancelled ones are dropped."""
        mine = self._waiting[number]
        while not mine:
            message = self._worker.receive()
            if message.number in self._waiting:
                self._waiting[message.number].append(message)
        return mine.popleft()

    def _failure(self, message: Message) -> Exception:
        failure = self._worker.read(message, partial(decode, Failure), "error")
        error = failure.exception()
        if error is not None and not isinstance(error, ComponentError):
            return error
        # What nobody raised on purpose: which plugin, in which environment, and what was printed on the way.
        kind = BackendError if error is None else ComponentError
        return kind(f"the worker in {self._worker.path} failed: {failure.text}. {self._worker.last_lines()}")
