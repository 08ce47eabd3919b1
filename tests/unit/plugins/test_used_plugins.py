"""A finished run stands unless something that it uses has changed: versions, code and options of components."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.stage_run import make_recipe, make_registry

from dasd.base.progress import Console
from dasd.pipeline.runner import Pipeline
from dasd.pipeline.stages.filter import FilterStage
from dasd.plugins.components import Owner
from dasd.plugins.registry import Registry

MODULE = "a_module_of_the_task"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the module of the task's plugin lies."""
    site = tmp_path_factory.mktemp("site")
    (site / f"{MODULE}.py").write_text("VERSION = 1\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        yield site


@pytest.fixture(scope="module")
def run(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of all stages but the report, whose questions name a plugin's verifier."""
    directory = tmp_path_factory.mktemp("runs") / "used"
    pipeline = Pipeline(make_recipe(), registry(), console=Console(quiet=True))
    pipeline.run(directory, until=pipeline.stages[-2].name)
    return directory


def registry(version: str = "1.0") -> Registry:
    return make_registry(Owner("task", "dasd-task", version, (MODULE,)))


def changed(run: Path, made: Registry, **changes: Any) -> list[str]:
    """Names of the stages that would run again."""
    states = Pipeline(make_recipe(**changes), made).plan(run)[:-1]
    assert {line.state for line in states} <= {"done", "changed"}
    return [line.name for line in states if line.state == "changed"]


GRADING = ["filter-low", "select-low", "evaluate-before", "evaluate-low", "mix-mixed"]
"""Stages that hold answers against a verifier."""


def test_a_plugin_that_is_not_used_changes_nothing(run: Path) -> None:
    made, plugin = registry(), Registry(Owner("unused", "dasd-unused", "1.0"))
    plugin.verifier("unused", lambda: None)  # type: ignore[arg-type, return-value]
    plugin.filter("unused", lambda _, __: None)  # type: ignore[arg-type, return-value]
    plugin.selector("unused", lambda _, __: None)  # type: ignore[arg-type, return-value]
    plugin.evaluator("unused", lambda _: None)  # type: ignore[arg-type, return-value]
    made.merge(plugin)
    assert changed(run, made) == []


def test_a_verifier_that_is_used_changes_what_grades(run: Path) -> None:
    names = changed(run, registry("2.0"))
    assert set(GRADING) <= set(names)
    assert not [name for name in names if name == "questions" or name.startswith("sample-")]


def test_edited_code_of_the_same_version_changes_what_grades(run: Path, site: Path) -> None:
    module = site / f"{MODULE}.py"
    before = module.read_text()
    module.write_text("VERSION = 2\n")
    try:
        assert set(GRADING) <= set(changed(run, registry()))
    finally:
        module.write_text(before)
    assert changed(run, registry()) == []


def test_verifiers_count_where_answers_are_graded() -> None:
    made = registry()
    summaries: Any = {
        "questions": {"verifiers": {"train": ["miniature"], "eval": ["math"]}},
        "sample-low": {},
    }
    for answer, names in ((True, ["miniature"]), (False, [])):
        recipe = make_recipe(filters={"answer": answer})
        stage = FilterStage(recipe, made, name="filter-low", samples="sample-low", max_length=512)
        assert list(stage.settings_by_needs(summaries).get("verifiers", {})) == names  # type: ignore[arg-type]
    # A run that an earlier version began doesn't say which they are.
    stage = FilterStage(make_recipe(), made, name="filter-low", samples="sample-low", max_length=512)
    assert stage.settings_by_needs({"questions": {}})["verifiers"].keys() == {"math", "miniature"}  # type: ignore[union-attr]
