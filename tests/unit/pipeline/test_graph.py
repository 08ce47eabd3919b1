"""The graph of a recipe: order, what reads what, and what a changed key runs again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.stage_run import RECIPE, make_recipe, make_registry

from dasd.base.progress import Console
from dasd.errors import InputError, RecipeError
from dasd.pipeline.graph import build_graph
from dasd.pipeline.nodes import nodes_of
from dasd.pipeline.runner import Pipeline


def names(**changes: Any) -> list[str]:
    return [stage.name for stage in build_graph(make_recipe(**changes), make_registry())]


def test_order() -> None:
    assert names() == [
        "questions",
        "sample-low",
        "sample-high",
        "sample-heldout",
        "filter-low",
        "filter-high",
        "dedup-low",
        "dedup-high",
        "score-low",
        "score-high",
        "select-low",
        "select-high",
        "evaluate-before",
        "train-low",
        "evaluate-low",
        "train-high",
        "evaluate-high",
        "mix-mixed",
        "train-mixed",
        "evaluate-mixed",
        "report",
    ]


def test_without_evaluation_questions_there_is_no_evaluation() -> None:
    found = names(questions={"eval": []})
    assert not [name for name in found if name.startswith("evaluate") or name == "sample-heldout"]
    assert "sample-heldout" not in names(evaluation={"heldout": 0})


def test_needs_come_before_and_trainings_follow_one_another() -> None:
    stages = build_graph(make_recipe(), make_registry())
    seen: set[str] = set()
    for stage in stages:
        assert set(stage.needs) <= seen, stage.name
        seen.add(stage.name)
    needs = {stage.name: set(stage.needs) for stage in stages}
    assert "train-low" in needs["train-high"]
    assert "train-high" in needs["mix-mixed"] & needs["train-mixed"]
    assert not [need for need in needs["train-low"] if need.startswith("train")]
    assert needs["report"] == seen - {"report"}


def states(directory: Path, **changes: Any) -> set[str]:
    """Stages that would not be those of RECIPE."""
    registry = make_registry()
    pipelines = [
        Pipeline(make_recipe(**change), registry, console=Console(quiet=True)) for change in ({}, changes)
    ]
    prints = [{node.name: node.fingerprint for node in nodes_of(pipeline.stages)} for pipeline in pipelines]
    return {name for name in prints[0] if prints[1].get(name) != prints[0][name]}


SAMPLING = {"sample-low", "sample-high"}
JUDGING = {f"{kind}-{name}" for kind in ("filter", "dedup") for name in ("low", "high")}
SCORING = {"score-low", "score-high"}
SELECTING = {"select-low", "select-high"}
TRAINING = {"train-low", "train-high", "mix-mixed", "train-mixed"}
MEASURING = {"evaluate-low", "evaluate-high", "evaluate-mixed"}


@pytest.mark.parametrize(
    ("changes", "ran"),
    [
        ({"select": {"beta": 0.2}}, SELECTING | TRAINING | MEASURING),
        ({"trainer": {"learning_rate": 1e-3}}, TRAINING | MEASURING),
        ({"evaluation": {"attempts": 3}}, MEASURING | {"evaluate-before"}),
        ({"filters": {"tool_calls": False}}, JUDGING | SCORING | SELECTING | TRAINING | MEASURING),
        ({"dedup": {"near": False}}, (JUDGING - {"filter-low", "filter-high"}) | SCORING | SELECTING),
        ({"teacher": {"batch_size": 3, "device": "cpu"}, "student": {"batch_size": 5}}, set()),
        ({"trainer": {"device": "cpu", "save_every": 7}}, set()),
        ({"sampling": {"max_tokens": 99}}, SAMPLING | {"sample-heldout", "evaluate-before"}),
    ],
)
def test_a_changed_key_changes_what_depends_on_it(
    tmp_path: Path, changes: dict[str, Any], ran: set[str]
) -> None:
    found = states(tmp_path, **changes) - {"report"}
    assert ran <= found
    first = next(iter(changes))
    untouched = {
        "select": SAMPLING | JUDGING | SCORING | {"questions", "evaluate-before", "sample-heldout"},
        "trainer": SAMPLING | JUDGING | SCORING | SELECTING | {"questions", "evaluate-before"},
        "evaluation": SAMPLING | JUDGING | SCORING | SELECTING | TRAINING | {"questions", "sample-heldout"},
        "filters": SAMPLING | {"questions", "sample-heldout", "evaluate-before"},
        "dedup": SAMPLING | {"filter-low", "filter-high", "questions", "evaluate-before"},
        "teacher": set(names()) - {"report"},
        "sampling": set(),
    }[first]
    assert not found & untouched


def test_what_only_the_plan_counts_with_changes_nothing(tmp_path: Path) -> None:
    assert states(tmp_path, plan={"answer_tokens": 300.0, "student_params": 1e9}) == set()


def test_balance_changes_the_training_alone(tmp_path: Path) -> None:
    stages = [*RECIPE["stages"][:2], {**RECIPE["stages"][2], "balance": 1.0}]
    assert states(tmp_path, stages=stages) - {"report"} == {"train-mixed", "evaluate-mixed"}


def test_recipes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    low, _, mixed = RECIPE["stages"]
    for stages in ([mixed, low], [low, low]):
        with pytest.raises(RecipeError, match=r"stages\.[01]"):
            names(stages=stages)
    with pytest.raises(RecipeError, match="before"):
        names(stages=[{**low, "name": "before"}])
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="tokenizer"):
        names(student={"model": str(tmp_path)})
