"""A teacher that is held to its promises, and gets its requests as it takes them: a list, or one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Generic, TypeVar, cast

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
from dasd.base.schemas import SAMPLES, SCORES, TOP_SCORES, Schema
from dasd.errors import BackendError, SchemaError
from dasd.plugins.blame import Origin
from dasd.plugins.checked import Checked
from dasd.plugins.checked_rows import as_rows, check_identity, check_tokens
from dasd.plugins.checked_top import TopRows
from dasd.plugins.roles import Teacher

__all__ = ["CheckedTeacher"]


class CheckedTeacher(Checked[Teacher]):
    """A teacher whose frames are checked: schema, lengths of token lists, one row or one refusal a request."""

    methods = ("sample", "continue_", "score", "close")

    def __init__(self, inner: Teacher, origin: Origin, *, gives_top: bool = True) -> None:
        """``gives_top``: whether it is registered with that. One that only hands on what another engine gives, whose
        own wrapper knows it, is asked in any case."""
        super().__init__(inner, origin)
        self._gives_top = gives_top

    @property
    def info(self) -> ModelInfo:
        """Of the wrapped teacher."""
        with self._origin.blamed():
            info = self._inner.info
        if not isinstance(info, ModelInfo):
            raise SchemaError(f"{self._origin} has a {type(info).__name__} as `info`; wanted a ModelInfo")
        return info

    def sample(self, requests: Iterable[SampleRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        """As ``Teacher.sample``."""
        answer = _Answer(requests, SAMPLES, self._origin, spec.on_refused)
        asked, own = answer.asked(self.info), replace(spec, on_refused=answer.refused)
        for rows, of in answer.rows(lambda: self._inner.sample(asked, own)):
            check_identity(rows, of, spec.stage, self._origin.label)
            yield rows

    def continue_(self, requests: Iterable[ContinueRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        """As ``Teacher.continue_``; each text must start with its prefix."""
        answer = _Answer(requests, SAMPLES, self._origin, spec.on_refused)
        asked, own = answer.asked(self.info), replace(spec, on_refused=answer.refused)
        for rows, of in answer.rows(lambda: self._inner.continue_(asked, own)):
            check_identity(rows, of, spec.stage, self._origin.label)
            for sample_id, text in rows.select("sample_id", "text").iter_rows():
                if not text.startswith(of[sample_id].prefix):
                    raise SchemaError(
                        f"{self._origin} returned a continuation of {sample_id} that doesn't start with its "
                        "prefix"
                    )
            yield rows

    def score(self, requests: Iterable[ScoreRequest], spec: ScoringSpec) -> Iterator[pl.DataFrame]:
        """As ``Teacher.score``. BackendError where likeliest tokens are asked for that it doesn't give."""
        if spec.top and not self._gives_top:
            raise BackendError(
                f"{self._origin} gives no likeliest tokens, and the {spec.top} likeliest of each position were asked "
                "for; use a backend that is registered with gives_top, e.g. transformers"
            )
        top = TopRows(spec.top, self._origin.label) if spec.top else None
        answer = _Answer(requests, TOP_SCORES if top else SCORES, self._origin, spec.on_refused)
        asked, own = answer.asked(self.info), replace(spec, on_refused=answer.refused)
        for rows, _ in answer.rows(lambda: self._inner.score(asked, own), top):
            yield rows

    def close(self) -> None:
        """Close the wrapped teacher."""
        with self._origin.blamed():
            self._inner.close()


RequestT = TypeVar("RequestT", SampleRequest, ContinueRequest, ScoreRequest)


class _Answer(Generic[RequestT]):
    """What a teacher gives to the requests of one call: each has one row, or is refused once."""

    def __init__(
        self, requests: Iterable[RequestT], schema: Schema, origin: Origin, on_refused: OnRefused
    ) -> None:
        self._requests: Iterable[RequestT] = requests
        self._open: dict[str, RequestT] = {}
        self._closed: set[str] = set()
        self._read = False
        self._schema = schema
        self._origin = origin
        self._on_refused = on_refused

    def asked(self, info: ModelInfo) -> Sequence[RequestT]:
        """What the teacher gets: a list, or an iterator where it reads requests as it has room."""
        if info.concurrency is None:
            return list(self._noted())
        # Its author says that any iterable will do.
        return cast("Sequence[RequestT]", self._noted())

    def refused(self, sample_id: str, reason: str) -> None:
        """The spec's ``on_refused``."""
        self._close(sample_id, "refused a request")
        self._on_refused(sample_id, reason)

    def rows(
        self, start: Callable[[], Iterator[pl.DataFrame]], top: TopRows | None = None
    ) -> Iterator[tuple[pl.DataFrame, dict[str, RequestT]]]:
        """The frames, checked, each with its rows' requests."""
        for frame in self._origin.each(start):
            if top is not None:
                top.check_given(frame)
            rows = as_rows(frame, self._schema, self._origin.label)
            check_tokens(rows, self._schema, self._origin.label)
            if top is not None:
                top.check(rows)
            what = f"returned a {self._schema.name} row"
            yield rows, {sample_id: self._close(sample_id, what) for sample_id in rows["sample_id"]}
        if not self._read:
            raise SchemaError(
                f"{self._origin} ended before it had read all requests; wanted it to read on while it has room"
            )
        if self._open:
            raise SchemaError(
                f"{self._origin} returned no {self._schema.name} row for {len(self._open)} of "
                f"{len(self._open) + len(self._closed)} requests, e.g. sample_id {min(self._open)}"
            )

    def _noted(self) -> Iterator[RequestT]:
        for request in self._requests:
            self._open[request.sample_id] = request
            yield request
        self._read = True

    def _close(self, sample_id: str, what: str) -> RequestT:
        request = self._open.pop(sample_id, None)
        if request is None:
            why = "twice" if sample_id in self._closed else "that nobody asked for"
            raise SchemaError(f"{self._origin} {what} {why}: sample_id {sample_id}")
        self._closed.add(sample_id)
        return request
