"""What a plan promises of engines that a recipe describes, against runs on an engine with such times."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest
import yaml
from pydantic import BaseModel
from tests.stage_run import RECIPE, ListConsole, ScriptedEvaluator, ScriptedModel, ScriptedTrainer, merged

from dasd.base.records import Message, SampleRequest, SamplingSpec
from dasd.models.remote.backend import Backend
from dasd.models.tokens.chat import ChatTokenizer
from dasd.pipeline.plan import plan_recipe
from dasd.pipeline.plan.engine_time import Engine, draw_lengths, simulate
from dasd.pipeline.plan.engines import EnginesPlan
from dasd.pipeline.plan.records import Amount, Generation
from dasd.pipeline.runner import Pipeline
from dasd.plugins.host import PluginHost
from dasd.plugins.recipe import Recipe
from dasd.recipe.model_settings import ModelSettings

MEAN, CAP = 120, 400
TIMES = {"step_ms": 12.0, "step_ms_a_sequence": 0.5, "start_seconds": 30.0}


class Options(BaseModel):
    together: int


class Timed(ScriptedModel):
    """Counts the seconds that it would take, step by step; lengths are drawn from the requests' names."""

    seconds: ClassVar[float] = 0.0

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        self._together = int(str(settings.options["together"]))
        self.info = replace(self.info, concurrency=self._together)
        type(self).seconds += TIMES["start_seconds"]

    def sample(self, requests: Iterable[SampleRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        unread, running, ended = iter(requests), [], False
        while True:
            while not ended and len(running) < self._together:
                request = next(unread, None)
                ended = request is None
                if request is not None:
                    length = round(random.Random(request.sample_id).lognormvariate(_middle(), 0.8))
                    running.append([max(1, min(CAP, length)), request])
            if not running:
                return
            type(self).seconds += (TIMES["step_ms"] + TIMES["step_ms_a_sequence"] * len(running)) / 1000
            for each in running:
                each[0] -= 1
            finished = [each[1] for each in running if not each[0]]
            running = [each for each in running if each[0]]
            for request in finished:
                yield next(super().sample([request], spec))


def _middle() -> float:
    import math

    return math.log(MEAN) - 0.8**2 / 2


def recipe(directory: Path, together: int, questions: int, **times: float) -> Path:
    changes: dict[str, Any] = {
        "teacher": {"backend": "timed", "options": {"together": together}},
        "questions": {"train": [{"source": "miniature", "count": questions}]},
        "sampling": {"candidates": 4, "max_tokens": CAP, "chunk": 16},
        "stages": [{"name": "low", "kind": "off-policy", "temperature": 0.6, "response_tokens": MEAN}],
        "plan": {"teacher_engine": {**TIMES, **times}},
    }
    path = directory / "timed.yaml"
    path.write_text(yaml.safe_dump({**merged(RECIPE, changes), "stages": changes["stages"]}))
    return path


def host() -> PluginHost:
    made = PluginHost()
    made.registry.teacher("timed", Timed, options=Options, concurrency="together")
    made.registry.teacher("scripted", ScriptedModel)
    made.registry.trainer("scripted", lambda _: ScriptedTrainer())
    made.registry.evaluator("scripted", lambda _: ScriptedEvaluator())
    return made


def promise(path: Path) -> float:
    planned = plan_recipe(path, directory=path.parent / "run")
    (found,) = [stage.cost.seconds for stage in planned.stages if stage.name == "sample-low"]
    assert found is not None
    return found


def test_prompts_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dasd.pipeline.plan.drafts.PluginHost.load_working", lambda *_, **__: (host(), []))
    without = promise(recipe(tmp_path, 8, 10))
    found = promise(recipe(tmp_path, 8, 10, read_ms_a_token=1000.0))
    chat = ChatTokenizer.load(ModelSettings(model="dasd:mini-teacher"))
    (prompt,) = chat.prompts_ids([(Message("user", "9 + 3 - 5 + 3 + 2 - 5 = ?"),)])
    assert found - without == pytest.approx(40 * len(prompt), rel=1e-6)


@pytest.mark.parametrize(("together", "questions"), [(8, 100), (64, 100), (400, 60)])
def test_a_promise_is_kept_within_15_per_cent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: int, questions: int
) -> None:
    path, made = recipe(tmp_path, together, questions), host()
    monkeypatch.setattr("dasd.pipeline.plan.drafts.PluginHost.load_working", lambda *_, **__: (made, []))
    planned = plan_recipe(path, directory=tmp_path / "run")
    (promised,) = [stage.cost.seconds for stage in planned.stages if stage.name == "sample-low"]
    (told,) = [text for text in planned.assumptions if text.startswith("teacher: one engine")]
    Timed.seconds = 0.0
    Pipeline(Recipe.load(path), made.registry, console=ListConsole()).run(
        tmp_path / "run", until="sample-low"
    )
    assert promised == pytest.approx(Timed.seconds, rel=0.15)
    assert f"of at most {together} sequences" in told
    assert ("too few requests" in told) == (together == 400)


@pytest.mark.parametrize(
    ("changes", "engines"),
    [
        ({}, 1),
        ({"executor": {"executor": "far", "options": {"copies": 4}}}, 4),
        ({"executor": {"executor": "far", "options": {"copies": "auto"}}}, 1),
        ({"teacher": {"options": {"servers": ["http://a/v1", "http://b/v1"]}}}, 2),
        ({"teacher": {"options": {"servers": "http://a/v1"}}}, 1),
        # Options of these names that nobody declared count for nothing.
        (
            {
                "executor": {"executor": "far", "options": {"replicas": 4}},
                "teacher": {"options": {"base_url": ["http://a/v1", "http://b/v1"]}},
            },
            1,
        ),
        (
            {
                "executor": {"executor": "far", "options": {"copies": 4}},
                "plan": {"teacher_engine": {"engines": 3}},
            },
            3,
        ),
    ],
)
def test_engines_are_those_of_the_recipe(changes: dict[str, Any], engines: int) -> None:
    settings = Recipe.load(merged({**RECIPE, "plan": {"teacher_engine": TIMES}}, changes)).settings
    assert settings.plan.teacher_engine is not None
    backend = Backend("a", {}, True, True, True, engines="servers", concurrency="together")
    plan = EnginesPlan(settings, settings.teacher, backend, settings.plan.teacher_engine, 0, "copies")
    work = Generation("teacher", Amount.exactly(1200), Amount.exactly(120_000))
    found = plan.of(work)
    assert found is not None and found[1].startswith(f"teacher: {engines if engines > 1 else 'one'} engine")
    alone = replace(plan, times=settings.plan.teacher_engine.model_copy(update={"engines": 1})).of(work)
    start = TIMES["start_seconds"]
    assert alone is not None and found[0] - start < 1.1 * (alone[0] - start) / engines + 10


def test_a_simulation_of_equal_lengths_is_a_multiplication() -> None:
    engine = Engine(4, 0.01, 0.001, read_seconds_a_token=0.0005)
    found = simulate([100] * 12, engine, prompt=20)
    assert found.seconds == pytest.approx(3 * 100 * 0.014 + 12 * 20 * 0.0005)
    assert found.bound == "sequences"
    assert simulate([100] * 12, engine, prompt=20, unit=6).seconds == pytest.approx(
        2 * (100 * 0.014 + 100 * 0.012) + 12 * 20 * 0.0005
    )


def test_what_does_not_fit_waits_or_is_put_back_and_read_again() -> None:
    engine = Engine(10, 0.01, 0.0, room=250)
    found = simulate([100] * 10, engine)
    assert found.bound == "room" and found.read_again > 0
    assert found.seconds > 2 * simulate([100] * 10, Engine(10, 0.01, 0.0)).seconds
    alone = simulate([1000], Engine(10, 0.01, 0.0, room=250))
    assert alone.seconds == pytest.approx(10.0), "one that is longer than the room goes alone"


@pytest.mark.parametrize("room", [float("inf"), 3000.0])
def test_a_simulation_answers_every_token_once(room: float) -> None:
    lengths = draw_lengths(300, 200, 0.8, 900, seed=4)
    found = simulate(lengths, Engine(16, 0.01, 0.0, room=room), ahead=16)
    assert found.running * found.seconds / 0.01 == pytest.approx(sum(lengths), rel=0.01)
