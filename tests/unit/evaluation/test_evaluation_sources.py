"""What a source of evaluation questions says of itself: name, attempts, cap on tokens, evaluator; recipes that
evaluate alone."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.stage_run import RECIPE, ScriptedEvaluator, make_recipe, make_registry, merged

from dasd.base.progress import Console
from dasd.base.records import EvalSpec
from dasd.curation.sources.gym import GymOptions
from dasd.curation.sources.mini import MiniatureOptions, MiniatureQuestions
from dasd.errors import InputError, PluginError, RecipeError
from dasd.evaluation.terms import EvaluationTerms, all_terms
from dasd.pipeline.compatibility import check_recipe
from dasd.pipeline.runner import Pipeline
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry
from dasd.recipe.evaluation_recipe import EvaluationRecipe
from dasd.store import Run

ALONE: dict[str, Any] = {
    "student": {"model": "dasd:mini-student", "backend": "scripted"},
    "questions": {"eval": [{"source": "miniature", "count": 4}]},
    "evaluation": {"evaluator": "scripted", "attempts": 2, "max_tokens": 400},
}


class Named(ScriptedEvaluator):
    """Keeps the specs that it gets."""

    specs: list[EvalSpec] = []  # noqa: RUF012 (the test empties it)

    def evaluate(self, model: Any, questions: pl.DataFrame, spec: EvalSpec) -> Any:
        self.specs.append(spec)
        return super().evaluate(model, questions, spec)


def registry() -> Registry:
    made = make_registry()
    made.evaluator("named", lambda _: Named())
    made.questions(
        "bench", MiniatureQuestions, options=MiniatureOptions, attempts=3, max_tokens=300, evaluator="named"
    )
    return made


def recipe(*sources: dict[str, Any]) -> Recipe:
    return make_recipe(questions={"eval": list(sources)})


def run_alone(directory: Path, **changes: Any) -> Run:
    made = Pipeline(Recipe.load(merged(ALONE, changes)), registry(), console=Console(quiet=True))
    return made.run(directory, until="evaluate")


def test_the_source_s_own_keys_come_first_then_the_benchmark_s_then_the_recipe_s() -> None:
    made = recipe(
        {"source": "bench", "attempts": 5, "max_tokens": 100}, {"source": "bench"}, {"source": "miniature"}
    )
    assert all_terms(made.settings, registry()) == (
        EvaluationTerms("named", 5, 100),
        EvaluationTerms("named", 3, 300),
        EvaluationTerms("scripted", 2, 400),
    )


def test_each_benchmark_is_evaluated_in_its_own_way(tmp_path: Path) -> None:
    Named.specs.clear()
    sources = [
        {"source": "bench", "count": 3, "name": "first", "options": {"seed": 9}},
        {"source": "miniature", "count": 4, "attempts": 1},
    ]
    run = run_alone(tmp_path, questions={"eval": sources})
    counts = run.frame("eval").collect().group_by("benchmark", maintain_order=True).len()
    assert dict(counts.iter_rows()) == {"first": 9, "miniature": 4}
    assert run.frame("questions").collect()["source"].unique(maintain_order=True).to_list() == [
        "first",
        "miniature",
    ]
    assert run.summary("questions")["benchmarks"] == {"first": 0, "miniature": 1}
    assert {(s.benchmark, s.attempts, s.max_tokens) for s in Named.specs} == {("first", 3, 300)}
    assert set(run.frame("metrics").collect()["benchmark"]) == {"first", "miniature"}


def test_the_fingerprints_know_how_a_benchmark_is_evaluated(tmp_path: Path) -> None:
    run_alone(tmp_path)
    for change, questions in (
        ({"attempts": 3}, "done"),
        ({"max_tokens": 90}, "done"),
        ({"name": "other"}, "changed"),
        ({"source": "bench"}, "changed"),
    ):
        source = {**ALONE["questions"]["eval"][0], **change}
        loaded = Recipe.load(merged(ALONE, {"questions": {"eval": [source]}}))
        planned = {stage.name: stage.state for stage in Pipeline(loaded, registry()).plan(tmp_path)}
        assert planned["questions"] == questions, change
        assert planned["evaluate-before"] == "changed", change


def test_two_sources_of_one_name_are_refused(tmp_path: Path) -> None:
    sources = [{"source": "miniature", "count": 3}, {"source": "bench", "count": 3}]
    with pytest.raises(InputError, match="sources 0 and 1 are both called 'miniature'.*give one.*`name`"):
        run_alone(tmp_path, questions={"eval": sources})


def test_benchmarks_that_share_a_question_both_keep_it(tmp_path: Path) -> None:
    sources = [{"source": "miniature", "count": 4}, {"source": "miniature", "count": 4, "name": "again"}]
    run = run_alone(tmp_path, questions={"eval": sources})
    rows = run.frame("questions").collect()
    assert rows.group_by("source").len().get_column("len").to_list() == [4, 4]
    assert rows["question_id"].n_unique() == 8
    assert run.frame("eval").collect().height == 16


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("train", {"name": "x"}),
        ("train", {"attempts": 2}),
        ("train", {"max_tokens": 9}),
        ("against", {"attempts": 2}),
    ],
)
def test_they_make_no_sense_elsewhere(section: str, change: dict[str, Any]) -> None:
    (key,) = change
    source = {"source": "miniature", **change}
    changes = {"questions": {"train": [source]}} if section == "train" else {"dedup": {"against": [source]}}
    with pytest.raises(RecipeError, match=rf"{section}\.0\.{key}: belongs to a source of questions\.eval"):
        make_recipe(**changes)


def test_what_a_source_declares_is_checked() -> None:
    made = Registry()
    with pytest.raises(
        PluginError, match="argument='path'; wanted one of its options: dataset, seed, config"
    ):
        made.questions("x", MiniatureQuestions, options=GymOptions, argument="path")
    with pytest.raises(PluginError, match="attempts=0; wanted at least 1"):
        made.questions("x", MiniatureQuestions, attempts=0)
    made.questions("y", MiniatureQuestions, options=GymOptions, argument="dataset", attempts=64)
    assert (made.component("questions", "y").argument, made.component("questions", "y").attempts) == (
        "dataset",
        64,
    )


def test_an_evaluator_that_isn_t_there_is_told_of_before_anything_runs() -> None:
    made = make_registry()
    made.questions("bench", MiniatureQuestions, evaluator="nobody")
    with pytest.raises(PluginError, match="no evaluator 'nobody'"):
        check_recipe(made, recipe({"source": "bench"}).settings)

    def broken(_: Registry) -> Any:
        raise ImportError("No module named 'harness'")

    made.evaluator("nobody", broken)
    with pytest.raises(PluginError, match="No module named 'harness'"):
        check_recipe(made, recipe({"source": "bench"}).settings)


# -- a recipe that evaluates alone ----------------------------------------------------------------------


def test_it_asks_no_teacher_and_loads_again(tmp_path: Path) -> None:
    loaded = Recipe.load(ALONE)
    assert isinstance(loaded.settings, EvaluationRecipe)
    assert loaded.settings.teacher == loaded.settings.student
    assert "teacher:" not in loaded.to_yaml()
    stages = [stage.name for stage in Pipeline(loaded, registry()).stages]
    assert stages == ["questions", "evaluate-before", "report"]
    run = run_alone(tmp_path)
    assert isinstance(run.settings, EvaluationRecipe)
    again = Recipe.load(tmp_path / "recipe.yaml")
    assert again.settings == run.settings
    assert "kl_nats_per_response" not in set(run.frame("metrics").collect()["metric"])


@pytest.mark.parametrize(
    ("without", "words"),
    [("stages", "stages: this key is needed"), ("train", r"questions\.train: this key is needed")],
)
def test_either_alone_is_a_mistake(without: str, words: str) -> None:
    data = deepcopy(RECIPE)
    data.pop("stages") if without == "stages" else data["questions"].pop("train")
    with pytest.raises(RecipeError, match=words):
        Recipe.load(data)
