"""Recipes: bundled ones, overrides, errors that say where and what, paths, secrets, round trips."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from dasd.errors import RecipeError
from dasd.pipeline.compatibility import check_recipe
from dasd.plugins.components import ROLES
from dasd.plugins.host import PluginHost
from dasd.plugins.recipe import Recipe
from dasd.recipe.docs import keys_markdown, template
from dasd.recipe.draft import BUNDLED, bundled
from dasd.recipe.evaluation_recipe import recipe_model
from dasd.recipe.problems import all_keys
from dasd.recipe.settings import RecipeSettings
from dasd.recipe.stage_settings import MixedPolicyStage, OffPolicyStage, OnPolicyStage

ROOT = Path(__file__).parents[3]

MINIMAL: dict[str, Any] = {
    "teacher": {"model": "dasd:mini-teacher"},
    "student": {"model": "dasd:mini-student"},
    "questions": {"train": [{"source": "miniature"}]},
    "stages": [{"name": "low", "temperature": 0.6}],
}


def changed(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(MINIMAL), **changes}


def refused(source: Any, *overrides: str) -> str:
    with pytest.raises(RecipeError) as error:
        Recipe.load(source, overrides)
    assert error.value.exit_code == 2
    return str(error.value)


@pytest.mark.parametrize("name", [recipe.name for recipe in bundled()])
def test_bundled_recipes_load_fit_and_round_trip(name: str, tmp_path: Path) -> None:
    recipe = Recipe.load(name)
    check_recipe(PluginHost.load().registry, recipe.settings)
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    assert Recipe.load(tmp_path / "recipe.yaml").settings == recipe.settings
    # The run store reads a kept recipe with plain YAML.
    data = yaml.safe_load(recipe.to_yaml())
    assert recipe_model(data).model_validate(data) == recipe.settings
    assert recipe.settings.name == name


@pytest.mark.parametrize("recipe", bundled(), ids=lambda recipe: recipe.name)
def test_bundled_recipes_say_what_they_do_and_how_to_run(recipe: Any) -> None:
    head = "".join(line for line in recipe.path.read_text().splitlines(True) if line.startswith("#"))
    assert recipe.summary.endswith(".")
    assert f"dasd pipeline {recipe.name}" in head or "dasd pipeline my.yaml" in head


def test_there_is_one_copy_of_the_bundled_recipes() -> None:
    assert (ROOT / "recipes").resolve() == BUNDLED.resolve()
    assert {"demo", "dasd-4b", "dasd-30b-a3b", "smollm2", "one-gpu"} <= {recipe.name for recipe in bundled()}


def test_the_reports_own_figures() -> None:
    settings = Recipe.load("dasd-4b").settings
    assert settings.teacher.model == "openai/gpt-oss-120b"
    assert settings.student.model == "Qwen/Qwen3-4B-Instruct-2507"
    assert [stage.temperature for stage in settings.stages] == [0.6, 1.0, 1.0]
    trainer = settings.trainer
    assert (trainer.epochs, trainer.batch_size, trainer.max_length) == (6, 64, 65536)
    assert (trainer.learning_rate, trainer.min_learning_rate) == (5e-5, 1e-5)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.learning_rate=.inf", "trainer.learning_rate: wanted a finite number, got inf"),
        ("stages.0.trainer.epochs=.nan", "stages.0.trainer.epochs: wanted a finite number, got nan"),
        ("select.options={a: [.inf]}", "select.options.a.0: wanted a finite number, got inf"),
        ("trainer.betas=[true, 0.9]", "trainer.betas.0: wanted a number, got True"),
        ("questions.train.0.count=true", "questions.train.0.count: wanted an integer, got True"),
        ("dedup.near_questions=false", "dedup.near_questions: wanted a number, got False"),
        ("seed='5'", "seed: wanted an integer, got '5'"),
        ("filters.answer=1", "filters.answer: wanted true or false, got 1"),
    ],
)
def test_numbers_are_finite_and_neither_bools_nor_texts(override: str, message: str) -> None:
    assert message in refused(MINIMAL, override)


@pytest.mark.parametrize("key", ["name", "stages.0.name", "questions.train.0.name"])
def test_names_that_become_file_names_are_bounded(key: str) -> None:
    assert Recipe.load(MINIMAL, [f"name={'n' * 100}"]).settings.name == "n" * 100
    assert f"{key}: wanted at most 100 characters, got 101: 'nnn" in refused(MINIMAL, f"{key}={'n' * 101}")


# -- overrides ------------------------------------------------------------------------------------------


def test_overrides_by_key_index_and_name() -> None:
    settings = Recipe.load(
        "demo",
        [
            "seed=7",
            "stages.high.temperature=0.9",
            "stages.0.temperature=0.5",
            "questions.train.0.count=12",
            "stages.low.trainer.epochs=1",
            "dedup.contamination=null",
            "trainer.learning_rate=1e-3",
            "filters.answer=false",
        ],
    ).settings
    assert settings.seed == 7
    assert [stage.temperature for stage in settings.stages[:2]] == [0.5, 0.9]
    assert settings.questions.train[0].count == 12
    assert settings.trainer_for(settings.stages[0]).epochs == 1
    assert settings.dedup.contamination is None
    assert settings.trainer.learning_rate == 1e-3
    assert settings.filters.answer is False


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("foo", "wanted key=value"),
        ("a..b=1", "wanted key=value"),
        ("stages.hgih.temperature=1", "did you mean 'high'"),
        ("stages.9.temperature=1", "Known: low, high, mixed"),
        ("seed.a=1", "with no keys below"),
        ("sampling.candidats=1", "did you mean 'candidates'"),
        ("stages.high.temperature=9", "stages.1.temperature: wanted at most 5, got 9"),
        ("stages.high.trainer.epcohs=1", "stages.1.trainer.epcohs: unknown key; did you mean 'epochs'"),
        ("stages.mixed.total=4", "stages.2.total: unknown key in a section of this `kind`"),
    ],
)
def test_wrong_overrides(override: str, words: str) -> None:
    message = refused("demo", override)
    assert words in message
    assert "-o" in message


@pytest.mark.parametrize(
    ("override", "blamed"),
    [
        ("trainr.epochs=2", "-o trainr.epochs=2: trainr: unknown key"),
        ("trainer.epochs=-1", "-o trainer.epochs=-1: trainer.epochs: wanted"),
        (
            "trainer.learning_rate=1e-7",
            ", and -o trainer.learning_rate=1e-7: trainer.min_learning_rate: wanted",
        ),
    ],
)
def test_a_wrong_override_is_blamed_itself(tmp_path: Path, override: str, blamed: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "teacher: {model: m}\nstudent: {model: m}\nquestions: {train: [{source: miniature}]}\n"
        "stages: [{name: low, temperature: 1}]\ntrainer:\n  min_learning_rate: 1e-6\n  epochs: 1\n"
    )
    message = refused(path, override)
    assert blamed in message
    assert "line 1:" not in message and "line 7" not in message


def test_a_wrong_override_of_what_no_file_sets_is_blamed(tmp_path: Path) -> None:
    message = refused("demo", "trainer.min_learning_rate=1")
    assert (
        "-o trainer.min_learning_rate=1: trainer.min_learning_rate: wanted at most learning_rate" in message
    )
    path = tmp_path / "mine.yaml"
    path.write_text(
        "teacher: {model: m}\nstudent: {model: m}\nquestions: {train: [{source: miniature}]}\n"
        "stages: [{name: low, temperature: 1}]\ntrainer:\n  epochs: 1\n"
    )
    message = refused(path, "trainer.learning_rate=1e-7")
    assert "  -o trainer.learning_rate=1e-7: trainer.min_learning_rate: wanted" in message


def test_a_secret_of_an_override_isnt_shown() -> None:
    message = refused("demo", "teacher.options.api_key=verysecret")
    assert "-o teacher.options.api_key: teacher.options.api_key: this looks like a secret" in message
    assert "verysecret" not in message


# -- messages -------------------------------------------------------------------------------------------


def test_every_problem_is_listed_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "teacher: {model: m, bakend: x}\n"
        "student:\n"
        "  model: m\n"
        "  batch_size: 0\n"
        "candidates: 4\n"
        "sampling:\n"
        "  candidates: four\n"
        "questions:\n"
        "  train: [{source: miniature}]\n"
        "stages:\n"
        "  - name: low\n"
        "    temperature: 1\n"
        "    trainer: {epcohs: 3}\n"
        "trainer:\n"
        "  precision: fp23\n"
        "  packing: maybe\n"
    )
    message = refused(path)
    for line, words in [
        (1, "teacher.bakend: unknown key; did you mean 'backend'?"),
        (4, "student.batch_size: wanted at least 1, got 0"),
        (5, "candidates: unknown key here; it belongs at sampling.candidates"),
        (7, "sampling.candidates: wanted an integer, got 'four'"),
        (15, "trainer.precision: wanted 'fp32' or 'bf16', got 'fp23'; did you mean 'fp32'?"),
        (16, "trainer.packing: wanted true or false, got 'maybe'"),
    ]:
        assert f"{path}, line {line}: {words}" in message
    assert message.startswith("6 problems")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"teacher": 3}, "teacher: wanted keys and values, got 3"),
        ({"teacher": {}}, "teacher.model: this key is needed"),
        ({"stages": []}, "stages: wanted at least 1 item"),
        ({"stages": [{"name": "a", "kind": "of-policy", "temperature": 1}]}, "did you mean 'off-policy'"),
        ({"stages": [{"name": "a", "temperature": 1}] * 2}, "stages.1.name: 'a' is the name of stage 0"),
        ({"stages": [{"name": "m", "kind": "mixed-policy"}]}, "needs an off-policy stage before it"),
        ({"stages": [{"name": "A b", "temperature": 1}]}, "stages.0.name: wanted text that matches"),
        (
            {"trainer": {"learning_rate": 1e-6}},
            "trainer.min_learning_rate: wanted at most learning_rate = 1e-06",
        ),
        ({"trainer": {"learning_rate": 1e-6}}, "got 1e-05: set both"),
        ({"trainer": {"min_learning_rate": 0.1}}, "got 0.1: set both"),
        (
            {"trainer": {"learning_rate": "x"}},
            "one problem in recipe:\n  recipe: trainer.learning_rate: wanted",
        ),
        (
            {"stages": [{"name": "a", "temperature": 1, "trainer": {"learning_rate": 1e-6}}]},
            "stages.0.trainer.min_learning_rate: wanted at most learning_rate = 1e-06",
        ),
        ({"trainer": {"betas": [1, 2, 3]}}, "trainer.betas: wanted at most 2 items"),
    ],
)
def test_what_a_single_problem_says(changes: dict[str, Any], words: str) -> None:
    assert words in refused(changed(**changes))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb:\n\tc: 2\n", "line 3, column 1: this isn't YAML"),
        ("a: 1\nb: {c: 1, c: 2}\n", "line 2: b.c is there twice"),
        ("seed: 1\nname: x\nseed: 2\n", "line 3: seed is there twice; it was set on line 1"),
        ("<<: {a: 1}\n", "no merge keys"),
        ("", "got nothing"),
        ("- 1\n", "wanted keys and values"),
    ],
)
def test_text_that_is_no_recipe(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    assert words in refused(tmp_path / "bad.yaml")


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_bytes(b"\xff\xfe\x00")
    assert "can't be read" in refused(tmp_path / "bad.yaml")


def test_numbers_and_words_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    text = (
        yaml.safe_dump(MINIMAL)
        + "trainer: {learning_rate: 2e-5, options: {a: no, b: 1:30, c: 010, d: 1e3}}\n"
    )
    (tmp_path / "r.yaml").write_text(text)
    trainer = Recipe.load(tmp_path / "r.yaml").settings.trainer
    assert trainer.learning_rate == 2e-5
    assert trainer.options == {"a": "no", "b": "1:30", "c": 10, "d": 1000.0}


def test_a_section_with_all_keys_commented_out_is_its_defaults() -> None:
    assert Recipe.load(changed(dedup=None)).settings.dedup.threshold == 0.8


def test_unknown_names_get_a_suggestion(tmp_path: Path) -> None:
    assert "did you mean 'demo'" in refused("dmo")
    assert "is a directory" in refused(tmp_path)


# -- paths ----------------------------------------------------------------------------------------------


def test_paths_resolve_beside_the_recipe_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside, cwd = tmp_path / "recipes", tmp_path / "work"
    for directory in (beside, cwd):
        (directory / "models/own").mkdir(parents=True)
        (directory / "both.jsonl").touch()
    (cwd / "here.jsonl").touch()
    monkeypatch.chdir(cwd)

    def loaded(path: str, *overrides: str) -> RecipeSettings:
        data = changed(questions={"train": [{"source": "file", "options": {"path": path}}]})
        data["teacher"]["model"] = "models/own"
        data["student"]["model"] = "owner/name"
        (beside / "r.yaml").write_text(yaml.safe_dump(data))
        return Recipe.load(beside / "r.yaml", overrides).settings

    def path(settings: RecipeSettings) -> object:
        return settings.questions.train[0].options["path"]

    assert path(loaded("both.jsonl")) == str(beside / "both.jsonl")
    assert path(loaded("here.jsonl")) == str(cwd / "here.jsonl")
    assert path(loaded("nowhere.jsonl")) == str(beside / "nowhere.jsonl")
    overridden = loaded("here.jsonl", "questions.train.0.options.path=both.jsonl")
    assert path(overridden) == str(cwd / "both.jsonl")
    assert overridden.teacher.model == str(beside / "models/own")
    assert overridden.student.model == "owner/name"


def test_a_bundled_recipes_paths_are_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = Recipe.load("smollm2").settings.questions.train[0].options
    assert options["path"] == str(tmp_path / "questions.jsonl")


# -- secrets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"api_key": "value-that-is-secret"},
        {"client": {"password": "value-that-is-secret"}},
        {"access-token": "value-that-is-secret"},
        {"authtoken": "value-that-is-secret"},
        {"proxy_authorization": "value-that-is-secret"},
        {"token": "value-that-is-secret"},
        {"anything": "sk-valuethatissecret123"},
    ],
)
def test_secrets_are_refused_and_not_repeated(options: dict[str, Any]) -> None:
    teacher = {"model": "m", "options": options}
    message = refused(changed(teacher=teacher))
    assert "environment" in message
    assert "secret123" not in message and "value-that" not in message
    assert "value-that" not in refused(MINIMAL, "teacher.options={api_key: value-that-is-secret}")


def test_names_of_environment_variables_and_of_tokens_are_fine() -> None:
    options = {"api_key_env": "OPENAI_API_KEY", "max_tokens": 3, "token_budget": 5, "stop_token": "x"}
    assert (
        Recipe.load(changed(teacher={"model": "m", "options": options})).settings.teacher.options == options
    )


def test_the_reports_mixture_of_experts_learns_from_the_small_students_data() -> None:
    small, large = Recipe.load("dasd-4b").settings, Recipe.load("dasd-30b-a3b").settings
    assert large.student.model == "Qwen/Qwen3-30B-A3B-Instruct-2507"
    assert large.data is not None and Path(large.data.run).parts[-2:] == ("runs", "dasd-4b")
    assert large.teacher == small.teacher and large.trainer == small.trainer
    assert large.evaluation == small.evaluation and large.questions.eval == small.questions.eval
    # Section 7.7 of the report: the first stage alone.
    assert [(stage.name, stage.temperature) for stage in large.stages] == [("low", 0.6)]


# -- documentation --------------------------------------------------------------------------------------


def test_every_key_has_a_line_and_the_page_is_current() -> None:
    for path, section in all_keys(RecipeSettings):
        field = section.model_fields[str(path[-1])]
        assert field.description, f"{path} has no description"
        assert f"| `{path[-1]}` |" in keys_markdown()
    written = (ROOT / "docs/recipe.md").read_text()
    assert written == keys_markdown(), "give `dasd recipes keys > docs/recipe.md`"


@pytest.mark.parametrize("name", [recipe.name for recipe in bundled()])
def test_a_started_recipe_is_the_one_it_started_from(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.yaml").write_text(template(name, Recipe.load(name).settings, "own"))
    settings = Recipe.load(tmp_path / "own.yaml").settings
    assert settings == Recipe.load(name, ["name=own"]).settings
    text = (tmp_path / "own.yaml").read_text()
    kinds = {type(stage) for stage in settings.stages}
    keys = [
        path[-1]
        for path, section in all_keys(RecipeSettings)
        if section in kinds or section not in (OffPolicyStage, MixedPolicyStage, OnPolicyStage)
    ]
    assert all(f"{key}: " in text or f"{key}:\n" in text for key in keys)


def test_roles_are_those_of_the_documentation() -> None:
    page = (ROOT / "docs/plugins.md").read_text()
    assert all(f"registry.{role}(name, factory)" in page for role in ROLES)
