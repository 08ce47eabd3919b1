"""Bodies of the messages: frozen dataclasses as JSON, and errors that arrive as what they were."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

from pydantic import JsonValue, TypeAdapter

from dasd import errors
from dasd.base.records import ContinueRequest, SampleRequest, SamplingSpec, ScoreRequest, ScoringSpec
from dasd.recipe.model_settings import ModelSettings

__all__ = [
    "Asked",
    "Continue",
    "Describe",
    "Failure",
    "Hello",
    "Open",
    "Refused",
    "Sample",
    "Score",
    "decode",
    "encode",
]

T = TypeVar("T")
RequestT_co = TypeVar("RequestT_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Hello:
    """What the worker is: number of the protocol, dasd's version, Python's version."""

    protocol: int
    dasd: str
    python: str


@dataclass(frozen=True, slots=True)
class Describe:
    """Ask for the ``Backend`` of that name. ``options`` are checked, ``section`` is their recipe section."""

    backend: str
    options: dict[str, JsonValue]
    section: str


@dataclass(frozen=True, slots=True)
class Open:
    """Start this model's backend; the worker answers with its ``ModelInfo``."""

    settings: ModelSettings


class Asked(Protocol[RequestT_co]):
    """What the worker is asked; it answers with frames and an end.

    Where the requests aren't the ``last`` ones the worker says when it is ``hungry``, and gets ``more``: the same
    record with those that follow.
    """

    @property
    def requests(self) -> tuple[RequestT_co, ...]:
        """Some of them, in order."""
        ...

    @property
    def last(self) -> bool:
        """Whether none follow."""
        ...


@dataclass(frozen=True, slots=True)
class Sample:
    """As ``Teacher.sample``."""

    requests: tuple[SampleRequest, ...]
    spec: SamplingSpec
    last: bool = True


@dataclass(frozen=True, slots=True)
class Continue:
    """As ``Teacher.continue_``."""

    requests: tuple[ContinueRequest, ...]
    spec: SamplingSpec
    last: bool = True


@dataclass(frozen=True, slots=True)
class Score:
    """As ``Teacher.score``."""

    requests: tuple[ScoreRequest, ...]
    spec: ScoringSpec
    last: bool = True


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that the backend refuses: what ``on_refused`` of its spec is told. Comes between frames."""

    sample_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception in the worker: its class in ``dasd.errors``, or None for any other, and its text."""

    error: str | None
    text: str

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """What to send of ``error``."""
        if isinstance(error, errors.DasdError):
            return cls(_exported(type(error)), str(error))
        return cls(None, f"{type(error).__name__}: {str(error).strip() or 'no message'}")

    def exception(self) -> errors.DasdError | None:
        """The exception that was raised, if it was one of dasd's."""
        return getattr(errors, self.error)(self.text) if self.error in errors.__all__ else None


def encode(record: object) -> bytes:
    """A dataclass as JSON."""
    return TypeAdapter(type(record)).dump_json(record)


def decode(kind: type[T], body: bytes) -> T:
    """The dataclass ``kind`` from JSON; pydantic's ValidationError for anything else."""
    return TypeAdapter(kind).validate_json(body)


def _exported(kind: type[errors.DasdError]) -> str:
    """The nearest class that ``dasd.errors`` has: a plugin may derive its own."""
    return next(base.__name__ for base in kind.__mro__ if base.__name__ in errors.__all__)
