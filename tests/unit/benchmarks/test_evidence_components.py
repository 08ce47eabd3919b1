"""The evidence suite's own evaluator and control selector, with the bundled miniature teacher."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
import pytest
from benchmarks.evidence.components import FORCED, SOURCE, TEMPERATURES, register
from benchmarks.evidence.worlds import WORLDS, drawn

from dasd.base.records import ContinueRequest, EvalSpec, SampleRequest, SamplingSpec
from dasd.base.schemas import QUESTIONS
from dasd.plugins.registry import Registry
from dasd.recipe.curation_settings import SelectSettings
from dasd.recipe.model_settings import ModelSettings

WORLD = WORLDS["modes"]


class Asked:
    """A model that notes what it is asked for, and answers through the real one."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.info, self.score, self.close = inner, inner.info, inner.score, inner.close
        self.temperatures: list[float] = []
        self.prefixes: list[str] = []

    def sample(self, requests: Sequence[SampleRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        self.temperatures.append(spec.temperature)
        return self.inner.sample(requests, spec)  # type: ignore[no-any-return]

    def continue_(self, requests: Sequence[ContinueRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        self.temperatures.append(spec.temperature)
        self.prefixes += [request.prefix for request in requests]
        return self.inner.continue_(requests, spec)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def registry() -> Registry:
    from dasd.evaluation import verifiers
    from dasd.models.transformers import builtin as backends

    made = Registry()
    backends.dasd_register(made)
    verifiers.dasd_register(made)
    register(made, WORLD)
    return made


@pytest.fixture(scope="module")
def teacher(registry: Registry) -> Iterator[Any]:
    model = registry.make_teacher(ModelSettings(model="dasd:mini-teacher", device="cpu"))
    yield model
    model.close()


def evaluated(registry: Registry, model: Asked, benchmark: str, attempts: int = 2) -> pl.DataFrame:
    questions = pl.DataFrame(
        [
            (
                f"q{n}",
                [{"role": "user", "content": each.question}],
                "d",
                each.answer,
                "miniature",
                "own",
                "eval",
            )
            for n, each in enumerate(drawn(WORLD, 8, "eval", "test"))
        ],
        schema=dict(QUESTIONS.columns),
        orient="row",
    )
    spec = EvalSpec(benchmark, attempts, 1.0, 1.0, 160, 5, 16, lambda _: None)
    return pl.concat(registry.make_evaluator(SOURCE).evaluate(model, questions, spec))


@pytest.mark.parametrize("style", WORLD.styles)
def test_a_forced_answer_begins_in_its_style_and_is_graded_whole(
    registry: Registry, teacher: Any, style: str
) -> None:
    model = Asked(teacher)
    rows = evaluated(registry, model, f"{FORCED}{style}")
    assert rows.height == len(model.prefixes) == 16
    begun = [[text for text in rows["text"] if text.startswith(prefix)] for prefix in model.prefixes]
    assert all(begun)
    assert {text for texts in begun for text in texts} == set(rows["text"])
    # The style may change after its first step, and the teacher knows all of them: most keep it, most are right.
    assert sum(WORLD.style_of(text) == style for text in rows["text"]) > 12
    assert rows["correct"].mean() > 0.8  # type: ignore[operator]
    assert set(model.temperatures) == {1.0}


@pytest.mark.parametrize("label", TEMPERATURES)
def test_a_label_sets_the_temperature(registry: Registry, teacher: Any, label: str) -> None:
    model = Asked(teacher)
    rows = evaluated(registry, model, label)
    assert set(model.temperatures) == {TEMPERATURES[label]}
    different = rows.group_by("question_id").agg(pl.col("text").n_unique())["text"].max()
    assert (different == 1) == (label == "greedy")


def test_style_matched_draws_among_those_in_the_style_of_most_teacher_sentences(registry: Registry) -> None:
    question, rng, by_style = drawn(WORLD, 1, "train", "test")[0], random.Random(1), {}
    while len(by_style) < 2:
        text = WORLD.solve(question, "teacher", rng)
        by_style[WORLD.style_of(text)] = text
    kinds = list(by_style.values())
    rows = [
        (f"s{question}-{n}", f"q{question}", kinds[n % 2], 5 if n == question % 4 else n % 3)
        for question in range(200)
        for n in range(4)
    ]
    candidates = pl.DataFrame(rows, schema=["sample_id", "question_id", "text", "teacher"], orient="row")
    selector = registry.make_selector(SelectSettings(selector="style-matched"), seed=7)
    ranked = candidates.with_columns(rank=selector.rank(candidates, None))
    best = ranked.filter(pl.col("rank") == pl.col("rank").max().over("question_id"))
    most = ranked.filter(pl.col("teacher") == 5)
    assert best.height == most.height == 200
    both = best.join(most, on="question_id", suffix="_most", maintain_order="left")
    assert (both["text"] == both["text_most"]).all(), "another style is picked"
    same = (both["sample_id"] == both["sample_id_most"]).sum()
    assert 60 < same < 140, "not a draw among two"
