"""The built-in engine as one that is kept full: it reads requests as it has room and answers each on its own.

A request's row then doesn't depend on its neighbours, so that any number of replicas gives the same rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import polars as pl

from dasd.api import ModelInfo, ModelSettings, Registry, Teacher, hookimpl

TOGETHER = 4


class Apart:
    """Works on four requests at a time, one after the other."""

    def __init__(self, inner: Teacher) -> None:
        self._inner = inner
        self.close = inner.close

    @property
    def info(self) -> ModelInfo:
        return replace(self._inner.info, concurrency=TOGETHER)

    def sample(self, requests: Iterable[Any], spec: Any) -> Iterator[pl.DataFrame]:
        return _each(self._inner.sample, requests, spec)

    def continue_(self, requests: Iterable[Any], spec: Any) -> Iterator[pl.DataFrame]:
        return _each(self._inner.continue_, requests, spec)

    def score(self, requests: Iterable[Any], spec: Any) -> Iterator[pl.DataFrame]:
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


def _made(settings: ModelSettings, transformers: Callable[[ModelSettings], Teacher]) -> Apart:
    return Apart(transformers(settings))


@hookimpl
def dasd_register(registry: Registry) -> None:
    """Register the teacher ``apart``."""
    from dasd.models.transformers.engine import TransformersTeacher

    registry.teacher("apart", partial(_made, transformers=TransformersTeacher))
