"""Options of filters, evaluators and verifiers: checked before anything runs, passed on, in fingerprints."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import BaseModel, ConfigDict, Field
from tests.plugin_factory import install
from tests.stage_run import ScriptedEvaluator, make_recipe, make_registry

from dasd.base.records import Grade
from dasd.cli.guard import run
from dasd.errors import InputError, PluginError, RecipeError
from dasd.pipeline.compatibility import check_recipe
from dasd.pipeline.graph import build_graph
from dasd.pipeline.work.grading import Grader
from dasd.plugins.components import Owner
from dasd.plugins.registry import Registry
from dasd.recipe.curation_settings import FilterSettings
from dasd.recipe.verifier_settings import VerifierSettings


class DeepOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")
    depth: int = Field(3, ge=1, description="How deep.")


class Deep:
    """Each role; says which options it got."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options

    def judge(self, responses: pl.DataFrame) -> pl.DataFrame:
        rows = [(False, "deep", json.dumps(self.options))] * responses.height
        return pl.DataFrame(rows, schema=["kept", "reason", "detail"], orient="row")

    def grade(self, response: str, answer: str, argument: str) -> Grade:
        return Grade(correct=True, extracted=f"{self.options['depth']}{argument}")


@pytest.fixture
def registry() -> Registry:
    plugin = Registry(Owner("deep", "dasd-deep", "1.0"))
    plugin.filter("deep", lambda settings, _: Deep(settings.options["deep"]), options=DeepOptions)
    plugin.filter("plain", lambda _, __: Deep({}))
    plugin.verifier("deep", Deep, options=DeepOptions)
    plugin.evaluator("deep", lambda _, options: ScriptedEvaluator() if options else None, options=DeepOptions)  # type: ignore[arg-type, return-value]
    made = make_registry()
    made.merge(plugin)
    return made


@pytest.mark.parametrize(
    ("depth", "wanted"), [(True, "an integer"), ("4", "an integer"), (math.inf, "a finite number")]
)
def test_a_number_among_a_plugins_options_is_taken_as_written(
    registry: Registry, depth: object, wanted: str
) -> None:
    with pytest.raises(RecipeError, match=f"select.options.depth: wanted {wanted}, got "):
        registry.checked_options("verifier", "deep", {"depth": depth}, "select.options")  # type: ignore[dict-item]


def source(verifier: Any) -> dict[str, Any]:
    return {
        "questions": {"train": [{"source": "file", "options": {"path": "q.jsonl", "verifier": verifier}}]}
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"filters": {"extra": ["deep"], "options": {"deep": {"depht": 1}}}}, "filters.options.deep.depht: unknown key; did you mean 'depth'"),
        ({"filters": {"extra": ["deep"], "options": {"deep": {"depth": 0}}}}, "filters.options.deep.depth: wanted at least 1, got 0"),
        ({"filters": {"extra": ["deep"], "options": {"depe": {}}}}, "filters.options.depe: filters.extra has no 'depe'; did you mean 'deep'"),
        ({"filters": {"options": {"deep": {}}}}, "filters.options.deep: filters.extra has no 'deep'; add it there"),
        ({"filters": {"options": {"length": {"depth": 1}}}}, "filters.options.length: it takes no options, got depth"),
        ({"filters": {"extra": ["plain"], "options": {"plain": {"a": 1}}}}, "filters.options.plain: it takes no options, got a"),
        ({"evaluation": {"evaluator": "deep", "options": {"depth": "x"}}}, "evaluation.options.depth: wanted an integer, got 'x'"),
        ({"evaluation": {"options": {"depth": 1}}}, "evaluation.options: it takes no options, got depth"),
        (source({"name": "deep", "options": {"depth": 0}}), "questions.train.0.options.verifier.options.depth: wanted at least 1"),
        (source({"name": "math", "options": {"depth": 1}}), "questions.train.0.options.verifier.options: it takes no options, got depth"),
        (source({"nmae": "deep"}), "questions.train.0.options.verifier.nmae: unknown key; did you mean 'name'"),
    ],
)  # fmt: skip
def test_wrong_options_are_refused_with_their_path(registry: Registry, changes: Any, words: str) -> None:
    with pytest.raises(RecipeError) as error:
        check_recipe(registry, make_recipe(**changes).settings)
    assert words in str(error.value)


def test_an_unknown_verifier_of_a_source_is_told_with_its_path(registry: Registry) -> None:
    with pytest.raises(
        PluginError, match=r"questions\.train\.0\.options\.verifier: there is no verifier 'depe'"
    ):
        check_recipe(registry, make_recipe(**source("depe:1")).settings)
    check_recipe(registry, make_recipe(**source("deep:1")).settings)


def test_filters_and_evaluators_get_theirs_with_defaults(registry: Registry) -> None:
    rows = pl.DataFrame({"text": ["x"]})
    for options, depth in (({}, 3), ({"deep": {"depth": 5}}, 5)):
        settings = FilterSettings.model_validate({"extra": ["deep"], "options": options})
        assert registry.make_filter("deep", settings, 9).judge(rows)["detail"][0] == json.dumps(
            {"depth": depth}
        )
    assert registry.make_evaluator("deep", {"depth": 2})
    check_recipe(registry, make_recipe(evaluation={"evaluator": "deep", "options": {"depth": 2}}).settings)


def test_one_verifier_with_two_options_grades_each_by_its_own(registry: Registry) -> None:
    deeper = VerifierSettings(name="deep", argument="a:b", options={"depth": 7})
    texts = ["deep", deeper.text, "deep:c", "deep:a:b"]
    assert [VerifierSettings.of(text).text for text in texts] == texts
    grader = Grader(registry)
    seen: list[str | None] = []
    for text in texts:
        how = VerifierSettings.of(text)
        verifier = grader._verifier(how)
        seen.append(verifier.grade("", "", how.argument).extracted)
    assert seen == ["3", "7a:b", "3c", "3a:b"]
    assert len(grader._verifiers) == 2
    assert grader.correct_rows([("q", "x")], {"q": ("1", deeper.text)}).to_list() == [True]


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ({"options": {}}, "verifier.name: this key is needed"),
        ({"name": "deep", "depth": 1}, "verifier.depth: unknown key"),
        ('{"name": ', "verifier"),
        (7, "verifier"),
    ],
)
def test_a_cell_that_names_no_verifier(cell: object, words: str) -> None:
    with pytest.raises(InputError) as error:
        VerifierSettings.of(cell)
    assert words in str(error.value)


def test_rows_of_a_file_name_verifiers_with_options(tmp_path: Path, registry: Registry) -> None:
    rows = [
        {"question": "a", "answer": "1"},
        {"question": "b", "answer": "1", "verifier": {"name": "deep", "options": {"depth": 4}}},
        {"question": "c", "answer": "1", "verifier": "math"},
    ]
    path = tmp_path / "q.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    changes = source({"name": "deep", "options": {"depth": 2}})
    changes["questions"]["train"][0]["options"]["path"] = str(path)
    settings = make_recipe(**changes).settings
    (train,) = settings.questions.train
    read = registry.make_questions("file").load(train, "train", 0).rows
    named = [VerifierSettings.of(text) for text in read["verifier"]]
    assert [(how.name, how.options) for how in named] == [
        ("deep", {"depth": 2}),
        ("deep", {"depth": 4}),
        ("math", {}),
    ]


@pytest.mark.parametrize(
    ("one", "other", "stages"),
    [
        (
            {"filters": {"extra": ["deep"]}},
            {"filters": {"extra": ["deep"], "options": {"deep": {"depth": 2}}}},
            {"filter-low", "filter-high", "mix-mixed"},
        ),
        (
            {"evaluation": {"evaluator": "deep"}},
            {"evaluation": {"evaluator": "deep", "options": {"depth": 2}}},
            {"evaluate-before", "evaluate-low", "evaluate-high", "evaluate-mixed"},
        ),
    ],
)
def test_options_are_in_the_fingerprint_of_who_uses_them(
    registry: Registry, one: Any, other: Any, stages: set[str]
) -> None:
    before, after = (build_graph(make_recipe(**changes), registry) for changes in (one, other))
    differ = {a.name for a, b in zip(before, after, strict=True) if a.settings() != b.settings()}
    assert differ == {*stages, "report"}, "the report shows the whole recipe"


PLUGIN = """
from pydantic import BaseModel, ConfigDict, Field
from dasd.api import hookimpl

class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")
    depth: int = Field(3, ge=1, description="How deep to look.")

@hookimpl
def dasd_register(registry):
    registry.filter("deep-filter", lambda settings, _: None, options=Options, doc="Deep.")
"""


@pytest.mark.parametrize("command", [["pipeline", "demo", "--dry-run"], ["plan", "demo"]])
def test_the_commands_refuse_wrong_options(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, "deep-filter", PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "plugin_deep_filter", raising=False)
    monkeypatch.chdir(tmp_path)
    wrong = ["--plugins", "deep-filter", "-o", "filters.options.deep-filter.depth=0"]
    assert run([*command, *wrong]) == 2
    said = capsys.readouterr()
    assert "filters.options.deep-filter.depth: wanted at least 1, got 0" in said.out + said.err
    assert run(["plugins", "info", "deep-filter"]) == 0
    assert "filters.options.deep-filter.depth: How deep to look." in capsys.readouterr().out


def test_paths_in_options_are_made_absolute(tmp_path: Path) -> None:
    from dasd.recipe.paths import resolve_paths

    data: dict[str, Any] = {
        "filters": {"options": {"deep": {"words_path": "a.txt"}}},
        "evaluation": {"options": {"path": "b"}},
        "questions": {"train": [{"options": {"verifier": {"name": "v", "options": {"path": "c"}}}}]},
    }
    resolve_paths(data, tmp_path, ())
    source = data["questions"]["train"][0]["options"]
    found = [
        data["filters"]["options"]["deep"]["words_path"],
        data["evaluation"]["options"]["path"],
        source["verifier"]["options"]["path"],
    ]
    assert found == [str(tmp_path / name) for name in ("a.txt", "b", "c")]
