"""A teacher that returns the frames that it was given, and what makes and asks it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from dasd.base.records import (
    ContinueRequest,
    Message,
    ModelInfo,
    SampleRequest,
    SamplingSpec,
    ScoreRequest,
    ScoringSpec,
)
from dasd.base.schemas import SAMPLES
from dasd.plugins.components import Owner
from dasd.plugins.registry import Registry
from dasd.recipe.model_settings import ModelSettings

OWNER = Owner("canned", "dasd-canned", "2.0")
SPEC = SamplingSpec("low", 1.0, 1.0, 8)
MESSAGES = (Message("user", "hello"),)


def row(sample_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "sample_id": sample_id,
        "question_id": "q",
        "stage": "low",
        "candidate": 0,
        "text": "ab",
        "token_ids": [1, 2],
        "token_ends": [1, 2],
        "logprobs": [-0.5, -0.1],
        "logprobs_mode": "raw",
        "temperature": 1.0,
        "top_p": 1.0,
        "seed": 0,
        "finish_reason": "length",
        "prefix_end": 0,
        "model": "m",
        "model_revision": "r",
        "tokenizer_hash": "t",
        "engine": "canned",
        "engine_version": "2.0",
        **changes,
    }


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=dict(SAMPLES.columns))


class Canned:
    """A teacher that returns the frames that it was given."""

    def __init__(self, frames: Sequence[Any] = ()) -> None:
        self.frames = frames
        self.closed = 0
        self.info = ModelInfo("m", "r", "t", "canned", "2.0", "raw", 99)

    def sample(self, requests: Sequence[SampleRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        yield from self.frames

    def continue_(self, requests: Sequence[ContinueRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        yield from self.frames

    def score(self, requests: Sequence[ScoreRequest], spec: ScoringSpec) -> Iterator[pl.DataFrame]:
        yield from self.frames

    def close(self) -> None:
        self.closed += 1


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int = Field(3, ge=1, description="How many.")


def registry() -> Registry:
    return Registry(OWNER)


def settings(**changes: Any) -> ModelSettings:
    return ModelSettings.model_validate({"model": "m", "backend": "canned", **changes})


def sampled(*frames: Any, ids: Sequence[str] = ("a", "b")) -> list[pl.DataFrame]:
    made = registry()
    made.teacher("canned", lambda _: Canned(frames))
    requests = [SampleRequest(name, "q", MESSAGES, 0, 0) for name in ids]
    return list(made.make_teacher(settings()).sample(requests, SPEC))
