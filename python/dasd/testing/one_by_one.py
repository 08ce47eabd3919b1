"""The built-in engine as one that is kept full, and starts of engines that write down where they run: for executors."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from dasd.api import ModelInfo, ModelSettings, OpenedTeacher, Teacher
from dasd.models.pool import Start

__all__ = ["OneByOne", "RecordedStart"]

TOGETHER = 4


class OneByOne:
    """Reads requests as it has room for them and answers each on its own: its row doesn't depend on neighbours."""

    def __init__(self, inner: Teacher) -> None:
        self._inner = inner
        self.close = inner.close

    @property
    def info(self) -> ModelInfo:
        """Of the engine inside, which takes several at a time."""
        return replace(self._inner.info, concurrency=TOGETHER)

    def sample(self, requests: Iterable[Any], spec: Any) -> Iterator[pl.DataFrame]:
        """As ``Teacher.sample``."""
        return _each(self._inner.sample, requests, spec)

    def continue_(self, requests: Iterable[Any], spec: Any) -> Iterator[pl.DataFrame]:
        """As ``Teacher.continue_``."""
        return _each(self._inner.continue_, requests, spec)

    def score(self, requests: Iterable[Any], spec: Any) -> Iterator[pl.DataFrame]:
        """As ``Teacher.score``."""
        return _each(self._inner.score, requests, spec)


def _each(
    ask: Callable[..., Iterator[pl.DataFrame]], requests: Iterable[Any], spec: Any
) -> Iterator[pl.DataFrame]:
    unread, held = iter(requests), deque[Any]()
    while True:
        while len(held) < TOGETHER and (request := next(unread, None)) is not None:
            held.append(request)
        if not held:
            return
        yield from ask([held.popleft()], spec)


@dataclass(frozen=True, slots=True)
class RecordedStart:
    """Starts a backend as the host has it started, and leaves the id of the process that it runs in, as a file."""

    directory: Path
    full: bool
    """Whether the engine is kept full."""

    def __call__(self, settings: ModelSettings) -> OpenedTeacher:
        """Start it. Raises what the backend does."""
        teacher = Start(None, ())(settings)
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / str(os.getpid())).touch()
        return OneByOne(teacher) if self.full else teacher
