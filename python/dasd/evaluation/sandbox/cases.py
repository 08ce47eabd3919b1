"""The tests of a program, as JSON."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from dasd.errors import InputError
from dasd.evaluation.sandbox.limits import Limits

__all__ = ["Assertions", "Calls", "StdinCases", "Tests", "read_tests"]


USUAL = Limits()
"""What a program may use where its tests say nothing."""


class _Tests(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    preamble: str = ""
    """Code that is put before the program: a prompt's imports and helpers."""
    cpu_seconds: int = Field(USUAL.cpu_seconds, ge=1, le=300)
    """Processor time of one run of the program."""
    wall_seconds: float = Field(USUAL.wall_seconds, gt=0, le=600)
    """Time from its start to its end."""
    memory_bytes: int = Field(USUAL.memory_bytes, ge=64 << 20, le=16 << 30)


class Assertions(_Tests):
    """Python code that calls the program's functions and asserts what they return (HumanEval, MBPP)."""

    type: Literal["assertions"]
    code: str
    """Names that it doesn't define are the program's functions. If it defines ``check(candidate)``, that runs."""
    entry_point: str = ""
    """The function that ``check`` gets: ``name`` or ``Class.method``."""


class StdinCase(BaseModel):
    """An input and what the program has to print for it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: str
    output: str


class StdinCases(_Tests):
    """The program reads its input and prints; each case is a run of its own (LiveCodeBench, competitions)."""

    type: Literal["stdin"]
    cases: tuple[StdinCase, ...] = Field(min_length=1)


class Call(BaseModel):
    """Arguments and what the function has to return for them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    args: tuple[JsonValue, ...]
    expected: JsonValue


class Calls(_Tests):
    """A function is called with JSON values (LiveCodeBench's functional tests)."""

    type: Literal["calls"]
    function: str
    """``name``, or ``Class.method`` of an instance made without arguments."""
    cases: tuple[Call, ...] = Field(min_length=1)


Tests = Annotated[Assertions | StdinCases | Calls, Field(discriminator="type")]
_READER: TypeAdapter[Assertions | StdinCases | Calls] = TypeAdapter(Tests)


def read_tests(text: str) -> Assertions | StdinCases | Calls:
    """The tests of a question's ``answer``. InputError names what is wrong with them."""
    try:
        return _READER.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the JSON"
        raise InputError(
            f"tests of verifier 'code': {where}: {first['msg']}; docs/sandbox.md gives the format "
            f"(answer: {text[:80]!r})"
        ) from error
