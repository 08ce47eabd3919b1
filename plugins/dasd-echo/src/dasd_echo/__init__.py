"""Plugin ``echo``: a teacher that replays recorded responses."""

from __future__ import annotations

from importlib.metadata import version

from pydantic import BaseModel, ConfigDict, Field

from dasd.api import ModelSettings, Registry, Teacher, hookimpl

__version__ = version("dasd-echo")


class EchoOptions(BaseModel):
    """Options of the backend ``echo``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(description="JSON lines of recorded responses.")
    repeat: bool = Field(
        False, description="Give the responses again where there are fewer than `sampling.candidates`."
    )


@hookimpl
def dasd_register(registry: Registry) -> None:
    """Register the teacher ``echo``."""
    registry.teacher(
        "echo",
        _echo,
        options=EchoOptions,
        doc="Replays recorded responses from a JSONL file; no log-probabilities.",
        runs_student=False,
        continues=False,
        gives_logprobs=False,
    )


def _echo(settings: ModelSettings) -> Teacher:
    from dasd_echo.teacher import EchoTeacher

    return EchoTeacher(settings, EchoOptions.model_validate(settings.options))
