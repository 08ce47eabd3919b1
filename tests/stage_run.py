"""Scripted models, trainer and evaluator for the stages' tests: quick, deterministic, with real tokenizers.

The models answer the miniature task by its own solver. What they say is decided by the request's seed alone,
and a log-probability by the model's name, the text and the place, so a second run says the same.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cache
from math import log
from pathlib import Path
from typing import Any

import polars as pl

from dasd.base.progress import Console
from dasd.base.records import (
    ContinueRequest,
    EvalSpec,
    Grade,
    Message,
    ModelInfo,
    SampleRequest,
    SamplingSpec,
    ScoreRequest,
    ScoringSpec,
)
from dasd.base.schemas import EVAL, LOSSES, SAMPLES, SCORES
from dasd.curation import filters, selectors, sources
from dasd.errors import BackendError
from dasd.models.miniature import world
from dasd.models.tokens.chat import ChatTokenizer
from dasd.pipeline.runner import Pipeline
from dasd.plugins.components import Owner
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry
from dasd.plugins.roles import Checkpoint, TrainProgress, TrainSpec
from dasd.recipe.model_settings import ModelSettings
from dasd.store import Run

RECIPE: dict[str, Any] = {
    "name": "scripted",
    "seed": 3,
    "teacher": {"model": "dasd:mini-teacher", "backend": "scripted"},
    "student": {"model": "dasd:mini-student", "backend": "scripted"},
    "questions": {
        "train": [{"source": "miniature", "count": 12}],
        "eval": [{"source": "miniature", "count": 6}],
    },
    "sampling": {"candidates": 3, "max_tokens": 400, "chunk": 10},
    "filters": {"answer": True},
    "stages": [
        {"name": "low", "kind": "off-policy", "temperature": 0.6},
        {"name": "high", "kind": "off-policy", "temperature": 1.0},
        {"name": "mixed", "kind": "mixed-policy"},
    ],
    "trainer": {"trainer": "scripted", "max_length": 512},
    "evaluation": {"evaluator": "scripted", "attempts": 2, "max_tokens": 400, "heldout": 4},
}


@cache
def _bundled(settings: str) -> ChatTokenizer:
    return ChatTokenizer.load(ModelSettings.model_validate_json(settings))


def _chat(settings: ModelSettings) -> ChatTokenizer:
    """A bundled model's is read once; a checkpoint's directory may change."""
    if settings.model.startswith("dasd:"):
        return _bundled(settings.model_dump_json())
    return ChatTokenizer.load(settings)


class ScriptedModel:
    """Solves the task; wrong in one answer of eight, and as a checkpoint too long in every second one."""

    calls: int = 0
    """Rows made by all instances since a test set it to 0."""
    fail_after: int | None = None
    """Raise BackendError once so many rows are made: an interrupted run."""

    def __init__(self, settings: ModelSettings) -> None:
        self._settings = settings
        self._chat = _chat(settings)
        self._name = "checkpoint" if "checkpoints" in settings.model else settings.model
        mode = str(settings.options.get("mode", "raw"))
        self.info = ModelInfo(
            settings.model,
            "r1",
            self._chat.hash,
            "scripted",
            "1",
            mode,
            4096,  # type: ignore[arg-type]
        )

    def _tick(self) -> None:
        cls = type(self)
        if cls.fail_after is not None and cls.calls >= cls.fail_after:
            raise BackendError("the scripted engine stops here")
        cls.calls += 1

    def _text(self, messages: Sequence[Message], seed: int) -> str:
        draw = random.Random(seed)
        asked = messages[-1].content
        answer = str(sum(world.parse(asked)))
        style = world.draw_style(draw)
        text = world.solve(world.Question(asked, answer), style, draw)
        if draw.random() < 0.125:
            text = text.rpartition(">")[0] + ">99"
        if self._name == "checkpoint" and draw.random() < 0.5:
            text = text.replace("</think>", "Good. Keep going. So " * 30 + "</think>")
        return text

    def _logprobs(self, text: str, count: int) -> list[float]:
        draw = random.Random(f"{self._name} {text}")
        return [log(draw.uniform(0.3, 1.0)) for _ in range(count)]

    def _row(
        self, request: SampleRequest | ContinueRequest, spec: SamplingSpec, text: str, prefix: str
    ) -> tuple[object, ...]:
        self._tick()
        ids, ends = self._chat.encode_response(text, ended=True)
        cap = request.max_tokens or spec.max_tokens
        given = len(self._chat.encode_response(prefix, ended=False)[0])
        finish = "stop"
        if len(ids) - given > cap:
            ids, ends, finish = ids[: given + cap], ends[: given + cap], "length"
            text = text.encode()[: ends[-1]].decode()
        info = self.info
        logprobs = None if info.logprobs_mode == "none" else self._logprobs(text, len(ids))  # type: ignore[comparison-overlap]
        return (
            *(request.sample_id, request.question_id, spec.stage, request.candidate, text, ids, ends),
            *(logprobs, info.logprobs_mode, spec.temperature, spec.top_p, request.seed, finish),
            *(len(prefix.encode()), info.model, "r1", info.tokenizer_hash, "scripted", "1"),
        )

    def sample(self, requests: Sequence[SampleRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        for request in reversed(requests):  # engines finish in any order
            row = self._row(request, spec, self._text(request.messages, request.seed), "")
            yield pl.DataFrame([row], schema=dict(SAMPLES.columns), orient="row")

    def continue_(self, requests: Sequence[ContinueRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        for request in requests:
            answer = sum(world.parse(request.messages[-1].content))
            tail = "" if "</think>" in request.prefix else f" So it is {answer}. </think>{answer}"
            row = self._row(request, spec, request.prefix + tail, request.prefix)
            yield pl.DataFrame([row], schema=dict(SAMPLES.columns), orient="row")

    def score(self, requests: Sequence[ScoreRequest], spec: ScoringSpec) -> Iterator[pl.DataFrame]:
        for request in reversed(requests):
            self._tick()
            ids, ends = self._chat.encode_response(request.text, request.ended)
            row = (request.sample_id, self._name, ids, ends, self._logprobs(request.text, len(ids)))
            yield pl.DataFrame([row], schema=dict(SCORES.columns), orient="row")

    def close(self) -> None:
        pass


class ScriptedTrainer:
    """Copies the start model; three steps of made-up losses."""

    def train(self, shards: Sequence[Path], spec: TrainSpec, resume: bool) -> Checkpoint:
        rows = pl.read_parquet(list(shards))
        shutil.copytree(spec.model, spec.output, dirs_exist_ok=True)
        steps = [(spec.stage, n, n / 3, 4.0 / n, 1e-3, 1.0, rows.height * n, 0.1 * n) for n in (1, 2, 3)]
        for _, step, epoch, loss, rate, norm, tokens, seconds in steps:
            spec.on_step(TrainProgress(step, 3, epoch, loss, rate, norm, tokens, seconds))
        pl.DataFrame(steps, schema=dict(LOSSES.columns), orient="row").write_parquet(
            spec.output / "losses.parquet"
        )
        return Checkpoint(spec.output, 3, rows.height * 3, 4.0, 4.0 / 3, 0.3)


class ScriptedEvaluator:
    """Samples through the model and grades by the task's own verifier."""

    def evaluate(self, model: Any, questions: pl.DataFrame, spec: EvalSpec) -> Iterator[pl.DataFrame]:
        for attempt in range(spec.attempts):
            requests = [
                SampleRequest(
                    f"{question}/{attempt}",
                    question,
                    tuple(Message(turn["role"], turn["content"]) for turn in cell),
                    attempt,
                    random.Random(f"{question} {attempt} {spec.seed}").getrandbits(60),
                )
                for question, cell in questions.select("question_id", "messages").iter_rows()
                if (question, attempt) not in spec.done
            ]
            answers = dict(questions.select("question_id", "answer").iter_rows())
            sampling = SamplingSpec("evaluate", spec.temperature, spec.top_p, spec.max_tokens)
            for rows in model.sample(requests, sampling):
                question, text, finish = rows.select("question_id", "text", "finish_reason").row(0)
                correct, found = world.verify(text, answers[question])
                tokens = rows["token_ids"].list.len().item()
                row = (spec.benchmark, question, attempt, text, found, correct, finish, tokens, 0.0)
                spec.on_rows(1)
                yield pl.DataFrame([row], schema=dict(EVAL.columns), orient="row")


class TaskVerifier:
    """The miniature task's verifier."""

    def grade(self, response: str, answer: str, argument: str) -> Grade:
        return Grade(*world.verify(response, answer))


class ListConsole(Console):
    """Keeps what it is told."""

    def __init__(self, verbose: bool = False) -> None:
        super().__init__(quiet=True, verbose=verbose)
        self.said: list[str] = []
        self.warned: list[str] = []

    def info(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.warned.append(text)


def make_registry(task: Owner | None = None) -> Registry:
    """The built-in sources, filters and selectors, and the scripted rest; the task's verifier is ``task``'s."""
    registry = Registry()
    sources.dasd_register(registry)
    filters.dasd_register(registry)
    selectors.dasd_register(registry)
    registry.teacher("scripted", ScriptedModel)
    registry.trainer("scripted", lambda _: ScriptedTrainer(), trains_on_policy=True)
    registry.evaluator("scripted", lambda _: ScriptedEvaluator())
    of_task = Registry(task)
    of_task.verifier("miniature", TaskVerifier)
    registry.merge(of_task)
    registry.verifier("math", TaskVerifier)
    return registry


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the nested ``changes``."""
    found = deepcopy(dict(base))
    for key, value in changes.items():
        old = found.get(key)
        found[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return found


def make_recipe(**changes: Any) -> Recipe:
    """RECIPE with nested changes."""
    return Recipe.load(merged(RECIPE, changes))


def run_recipe(
    directory: Path, until: str | None = None, console: Console | None = None, **changes: Any
) -> Run:
    """Run RECIPE with ``changes`` in ``directory``, by default up to the last stage before the report."""
    pipeline = Pipeline(make_recipe(**changes), make_registry(), console=console or Console(quiet=True))
    return pipeline.run(directory, until=until or pipeline.stages[-2].name)
