"""A teacher, student, trainer and questions that take next to no time: what is left is dasd's own work."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import JsonValue

from dasd.base.records import (
    ContinueRequest,
    ModelInfo,
    SampleRequest,
    SamplingSpec,
    ScoreRequest,
    ScoringSpec,
)
from dasd.base.schemas import LOSSES, QUESTIONS, SAMPLES, SCORES
from dasd.models.tokens.chat import ChatTokenizer
from dasd.pipeline.work.stage import StageContext
from dasd.pipeline.work.units import finish_rows, units
from dasd.plugins.roles import Checkpoint, TrainProgress, TrainSpec
from dasd.recipe.model_settings import ModelSettings

SENTENCES = 500
BATCH = 64
"""Rows of a frame that the made engine gives."""


class MadeModel:
    """A teacher or student: sentences drawn by the request's seed, their tokens known beforehand."""

    def __init__(self, settings: ModelSettings) -> None:
        self._chat = ChatTokenizer.load(settings)
        self.info = ModelInfo(
            settings.model, "r1", self._chat.hash, "made", "1", "raw", 4096, concurrency=256
        )
        draw = random.Random(0)
        self._pieces = [self._piece(f" Step {n} gives {draw.randrange(10**6)}.\n") for n in range(SENTENCES)]
        self._open, self._close = self._piece("<think>"), self._piece("</think> So the answer is 7.")

    def _piece(self, text: str) -> tuple[str, list[int], list[int]]:
        return (text, *self._chat.encode_response(text, ended=False))

    def _row(
        self, request: SampleRequest | ContinueRequest, spec: SamplingSpec, prefix: str
    ) -> tuple[object, ...]:
        draw = random.Random(request.seed)
        text, ids, ends = prefix, *self._chat.encode_response(prefix, ended=False)
        drawn = [self._pieces[draw.randrange(SENTENCES)] for _ in range(draw.randrange(3, 8))]
        close = () if "</think>" in prefix else (self._close,)
        for piece, piece_ids, piece_ends in (*(() if prefix else (self._open,)), *drawn, *close):
            start = len(text.encode())
            text, ids = text + piece, ids + piece_ids
            ends = ends + [start + end for end in piece_ends]
        ids, ends, finish = [*ids, self._chat.eos_id], [*ends, len(text)], "stop"
        cap = request.max_tokens or spec.max_tokens
        if not prefix and len(ids) > cap:
            ids, ends, finish = ids[:cap], ends[:cap], "length"
            text = text[: ends[-1]]
        return (
            *(request.sample_id, request.question_id, spec.stage, request.candidate, text, ids, ends),
            *(
                self._logprobs(request.seed, len(ids)),
                "raw",
                spec.temperature,
                spec.top_p,
                request.seed,
                finish,
            ),
            *(len(prefix), self.info.model, "r1", self.info.tokenizer_hash, "made", "1"),
        )

    def _logprobs(self, seed: int, count: int) -> list[float]:
        steepness = (0.2 + seed // 1009 % 5) / 1009
        return [-((seed + place * 7919) % 1009) * steepness for place in range(count)]

    def sample(self, requests: Iterable[SampleRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        """SAMPLES rows, some at a time."""
        return _frames((self._row(request, spec, "") for request in requests), SAMPLES.columns)

    def continue_(self, requests: Iterable[ContinueRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        """SAMPLES rows that begin with the prefix."""
        return _frames((self._row(request, spec, request.prefix) for request in requests), SAMPLES.columns)

    def score(self, requests: Iterable[ScoreRequest], spec: ScoringSpec) -> Iterator[pl.DataFrame]:
        """SCORES rows."""
        del spec
        return _frames(map(self._scored, requests), SCORES.columns)

    def _scored(self, request: ScoreRequest) -> tuple[object, ...]:
        known = request.sampled
        if known is None or known.tokenizer_hash != self._chat.hash:
            ids, ends = self._chat.encode_response(request.text, request.ended)
        else:
            ids, ends = list(known.token_ids), list(known.token_ends)
        return request.sample_id, "made", ids, ends, self._logprobs(int(request.sample_id[:8], 16), len(ids))

    def close(self) -> None:
        """Nothing is held."""


def _frames(rows: Iterator[tuple[object, ...]], columns: Mapping[str, Any]) -> Iterator[pl.DataFrame]:
    held: list[tuple[object, ...]] = []
    for row in rows:
        held.append(row)
        if len(held) == BATCH:
            yield pl.DataFrame(held, schema=dict(columns), orient="row")
            held = []
    if held:
        yield pl.DataFrame(held, schema=dict(columns), orient="row")


class MadeTrainer:
    """Copies the start model."""

    def train(self, shards: Sequence[Path], spec: TrainSpec, resume: bool) -> Checkpoint:
        """One step."""
        del shards, resume
        shutil.copytree(spec.model, spec.output, dirs_exist_ok=True)
        step = (spec.stage, 1, 1.0, 1.0, 1e-3, 1.0, 1, 0.1)
        spec.on_step(TrainProgress(1, 1, 1.0, 1.0, 1e-3, 1.0, 1, 0.1))
        pl.DataFrame([step], schema=dict(LOSSES.columns), orient="row").write_parquet(
            spec.output / "losses.parquet"
        )
        return Checkpoint(spec.output, 1, 1, 1.0, 1.0, 0.1)


@dataclass(frozen=True, slots=True)
class MadeQuestions:
    """Stage ``questions``."""

    count: int
    name: str = "questions"
    kind: str = field(default="questions", init=False)
    frame: str = field(default="questions", init=False)
    passes_on: str | None = field(default=None, init=False)
    needs: tuple[str, ...] = field(default=(), init=False)

    def settings(self) -> Mapping[str, JsonValue]:
        """The size."""
        return {"count": self.count}

    def run(self, context: StageContext) -> None:
        """Write them, 4,096 a unit."""
        for unit in units(self.count, 4096):
            rows = [
                (
                    f"{number * 0x9E3779B97F4A7C15 % 2**128:032x}",
                    [{"role": "user", "content": f"What is {number} + {number % 97}? Think step by step."}],
                    *("sums", None, None, "made", "train"),
                )
                for number in range(unit.start, unit.stop)
            ]
            finish_rows(
                context, "questions", pl.DataFrame(rows, schema=dict(QUESTIONS.columns), orient="row"), unit
            )
