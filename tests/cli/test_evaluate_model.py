"""``dasd evaluate MODEL --benchmarks LIST`` as it is called, and what its items mean."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.test_commands import one_message
from tests.command import dasd

from dasd.cli.evaluate_model import WELL_KNOWN, Asked, recipe_data, source
from dasd.curation.sources import dasd_register
from dasd.curation.sources.file import FileQuestions
from dasd.errors import InputError
from dasd.plugins.registry import Registry
from dasd.recipe.evaluation_recipe import EvaluationRecipe
from dasd.recipe.model_settings import ModelSettings
from dasd.recipe.question_settings import QuestionSource
from dasd.store import Run

MINIATURE = ("evaluate", "dasd:mini-student", "--recipe", "demo", "--quiet", "--attempts", "2")


@pytest.fixture
def registry() -> Registry:
    made = Registry()
    dasd_register(made)
    return made


def test_a_named_plugin_s_backend_is_no_teacher() -> None:
    """`--plugins vllm` makes its backend that of both models where nobody says otherwise."""
    data = {"student": {"model": "m", "backend": "b"}, "teacher": {"backend": "b"}}
    found = EvaluationRecipe.model_validate({**data, "questions": {"eval": [{"source": "miniature"}]}})
    assert found.teacher == found.student and found.student.model == "m"


def test_a_model_alone_and_its_run(tmp_path: Path) -> None:
    rows = [{"question": f"{n}+1-1+1-1+1=?", "answer": str(n + 1), "verifier": "miniature"} for n in range(3)]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    command = (*MINIATURE, "--benchmarks", "miniature,own.jsonl", "--count", "4")
    done = dasd(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (place,) = (tmp_path / "runs").iterdir()
    assert place.name.startswith("evaluate-mini-student-miniature-own-")
    assert f"run: runs/{place.name}" in done.stdout
    assert "avg@2" in done.stdout and "own" in done.stdout
    run = Run.open(place)
    assert run.frame("eval").collect().height == 14
    assert {stage.kind for stage in run.stages()} == {"questions", "evaluate"}
    again = dasd(*command, cwd=tmp_path)
    assert again.stdout == done.stdout
    for other in (("evaluate", str(place)), ("runs", "show", str(place)), ("report", str(place), "--quiet")):
        shown = dasd(*other, cwd=tmp_path)
        assert shown.returncode == 0, shown.stderr
    assert (place / "report.html").is_file()
    whole = dasd("pipeline", str(place / "recipe.yaml"), "--run", str(place), "--dry-run", cwd=tmp_path)
    assert [line.split()[-1] for line in whole.stdout.splitlines()[2:5]] == ["done"] * 3


def test_wrong_use(tmp_path: Path) -> None:
    one_message(
        dasd(*MINIATURE, "--benchmarks", "miniatur", cwd=tmp_path),
        2,
        "did you mean 'miniature'?",
        "Registered:",
    )
    one_message(dasd(*MINIATURE, cwd=tmp_path), 2, "--attempts belong to MODEL with --benchmarks")
    missing = ("evaluate", "./none", "--benchmarks", "miniature")
    one_message(dasd(*missing, cwd=tmp_path), 2, "./none: no such directory")
    (tmp_path / "run.json").write_text("{}")
    one_message(dasd("evaluate", ".", "--benchmarks", "miniature", cwd=tmp_path), 2, "is a run directory")
    assert not (tmp_path / "runs").exists()


def test_a_run_that_trains_is_left_alone(tmp_path: Path) -> None:
    made = dasd("pipeline", "demo", "--run", "kept", "--until", "questions", "--quiet", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    refused = dasd(*MINIATURE, "--benchmarks", "miniature", "--run", "kept", cwd=tmp_path)
    one_message(refused, 2, "kept is the run of a recipe that trains")


def test_what_an_item_means(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("q.jsonl", "q.csv", "q.parquet"):
        (tmp_path / name).write_text("")
        assert source(name, registry) == {"source": "file", "options": {"path": str(tmp_path / name)}}
    assert source("miniature", registry) == {"source": "miniature"}
    assert source("reasoning-gym:chain_sum", registry) == {
        "source": "reasoning-gym",
        "options": {"dataset": "chain_sum"},
    }
    assert source("file:q.jsonl", registry)["options"] == {"path": str(tmp_path / "q.jsonl")}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("aime24", r"Registered: file.*aime24 comes with a plugin: pip install dasd-benchmarks"),
        ("aime-24", r"did you mean 'aime24'\?.*pip install dasd-benchmarks"),
        ("lm-eval:gsm8k", "pip install dasd-lm-eval"),
        ("qqqq", "With the plugins dasd-benchmarks and dasd-lm-eval: aime24"),
        ("none.jsonl", "no such file"),
        ("miniature:1", "takes no value"),
        ("file", "wanted file:PATH"),
        ("reasoning-gym:", "wanted reasoning-gym:DATASET"),
    ],
)
def test_items_that_mean_nothing(registry: Registry, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        source(text, registry)


def test_well_known_names_are_those_of_the_plugins() -> None:
    root = Path(__file__).parents[2] / "plugins"
    for plugin, names in WELL_KNOWN.items():
        text = "".join(path.read_text() for path in (root / plugin / "src").rglob("*.py"))
        assert all(f'"{name}"' in text for name in names), plugin


def test_the_command_line_stands_before_recipe_and_benchmark(registry: Registry) -> None:
    from dasd.plugins.recipe import Recipe

    base = Recipe.load("demo").settings
    asked = Asked(("miniature",), 5, 3, 99, 0.6, 0.9, "vllm", 7)
    data = recipe_data("models/x", asked, base, [], registry)
    assert data["questions"]["eval"] == [{"source": "miniature", "count": 5, "attempts": 3, "max_tokens": 99}]
    assert (data["seed"], data["evaluation"]["temperature"], data["evaluation"]["top_p"]) == (7, 0.6, 0.9)
    student = ModelSettings.model_validate(data["student"])
    assert (student.model, student.backend, student.precision, student.batch_size) == (
        "models/x",
        "vllm",
        "fp32",
        256,
    )


def test_a_csv_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text('question,answer,verifier\n"1, and 2?",3,exact\n"a ""b""",007,\n,4,exact\nc,,\n')
    own = QuestionSource(source="file", options={"path": str(path)})
    read = FileQuestions().load(own, "eval", 0)
    rows = read.rows
    assert "the first is row 3" in str(read.set_aside[0])
    assert [cell[0]["content"] for cell in rows["messages"]] == ["1, and 2?", 'a "b"', "c"]
    assert rows["answer"].to_list() == ["3", "007", None]
    (tmp_path / "bad.csv").write_text("question,answer\na,b,c\n")
    with pytest.raises(InputError, match="CSV file with a header"):
        FileQuestions().load(
            QuestionSource(source="file", options={"path": str(tmp_path / "bad.csv")}), "eval", 0
        )
