"""``dasd filter|dedup|score|select FILE...`` as they are called, on the bundled miniature models."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from tests.command import Done
from tests.command import dasd as command

from dasd.base.records import Message
from dasd.curation.sources.rows import question_id
from dasd.models.miniature import world
from dasd.store import Run

RECIPE = """
name: tiny
teacher: {model: "dasd:mini-teacher", precision: fp32, device: cpu}
student: {model: "dasd:mini-student", precision: fp32, device: cpu}
questions:
  train: [{source: miniature, count: 8}]
  eval: [{source: miniature, count: 6}]
sampling: {chunk: 8}
filters: {answer: true}
stages:
  - {name: low, temperature: 0.6}
  - {name: high, temperature: 1.0}
trainer: {max_length: 512, precision: fp32, device: cpu}
"""


def dasd(cwd: Path, *arguments: str) -> Done:
    return command(*arguments, cwd=cwd)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    return tmp_path


def answered(count: int, seed: int, candidates: int = 2) -> Iterator[tuple[world.Question, str]]:
    """Questions of the miniature task and right answers in its styles."""
    draw = random.Random(seed)
    for question in world.questions(count, seed, "train"):
        for _ in range(candidates):
            yield question, world.solve(question, world.draw_style(draw), draw)


def write(path: Path, values: list[Any]) -> None:
    lines = [value if isinstance(value, str) else json.dumps(value) for value in values]
    path.write_text("\n".join(lines) + "\n")


def test_selecting_from_texts_that_bring_their_questions(place: Path) -> None:
    values = [
        {"messages": [{"role": "user", "content": q.question}], "response": text, "answer": q.answer, "verifier": "miniature"}
        for q, text in answered(10, seed=77)
    ]  # fmt: skip
    values[0]["response"] = values[0]["response"].rpartition(">")[0] + ">99"
    write(place / "mine.jsonl", values)
    done = dasd(place, "select", "mine.jsonl", "--recipe", "tiny.yaml", "--quiet")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[2].startswith("select-low ")
    assert lines[-1] == "rows: runs/tiny-mine/stages/06-select-low"
    assert list((place / "runs/tiny-mine/stages/06-select-low").glob("part-verdicts-*.parquet"))

    run = Run.open(place / "runs/tiny-mine")
    assert [stage.name for stage in run.stages()] == [
        "questions", "sample-low", "filter-low", "dedup-low", "score-low", "select-low",
    ]  # fmt: skip
    questions = run.frame("questions").collect()
    assert questions["split"].value_counts(sort=True).rows() == [("train", 10), ("eval", 6)]
    assert run.summary("questions")["set_aside"] == 0, "a question with two answers is no bad row"
    assert run.summary("sample-low")["scored_by_teacher"] == 20
    wrong = run.frame("verdicts", "filter-low").filter(~pl.col("kept")).collect()
    assert wrong["reason"].to_list() == ["answer"]
    assert run.frame("verdicts", "select-low").filter(pl.col("kept")).collect().height == 10

    again = dasd(place, "select", "runs/tiny-mine", "--quiet")
    assert again.returncode == 0 and again.stdout.splitlines() == lines[:3]


def test_filtering_files_that_name_the_recipes_questions(place: Path) -> None:
    values: list[Any] = [
        {"question_id": question_id([Message("user", q.question)]), "text": text}
        for q, text in answered(8, seed=0)
    ]
    write(place / "a.jsonl", [*values[:9], '{"text": "to'])
    pl.DataFrame(values[9:]).write_parquet(place / "b.parquet")
    options = ["--recipe", "tiny.yaml", "--run", "out", "-o", "select.selector=longest"]
    done = dasd(place, "filter", "a.jsonl", "b.parquet", *options, "--quiet")
    assert done.returncode == 0, done.stderr
    assert "a.jsonl: 1 rows set aside, the first is row 10 (not JSON" in done.stderr
    assert done.stdout.splitlines()[-1] == "rows: out/stages/03-filter-low"
    run = Run.open(place / "out")
    assert [stage.name for stage in run.stages()] == ["questions", "sample-low", "filter-low"]
    verdicts = run.frame("verdicts").collect()
    assert verdicts.height == 16 and verdicts["kept"].all()
    kept = yaml.safe_load((place / "out/recipe.yaml").read_text())
    assert [stage["name"] for stage in kept["stages"]] == ["low"]
    assert kept["stages"][0]["samples"] == [str(place / "a.jsonl"), str(place / "b.parquet")]
    assert kept["questions"]["train"][0]["source"] == "miniature"
    (place / "b.parquet").write_bytes((place / "b.parquet").read_bytes()[:-40])
    torn = dasd(place, "filter", "a.jsonl", "b.parquet", *options, "--quiet")
    assert torn.returncode == 2 and "b.parquet: wanted a Parquet file" in torn.stderr


def test_a_recipe_that_names_its_samples_runs_without_sampling_the_teacher(place: Path) -> None:
    values = [
        {"question_id": question_id([Message("user", q.question)]), "text": text, "temperature": 0.8}
        for q, text in answered(8, seed=0)
    ]
    write(place / "low.jsonl", values)
    done = dasd(
        place, "pipeline", "tiny.yaml", "--until", "sample-low", "--run", "out", "-o", "stages.low.samples=low.jsonl",
        "--quiet",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    samples = Run.open(place / "out").frame("samples", "sample-low").collect()
    assert samples["temperature"].round(3).unique().to_list() == [pytest.approx(0.8)]
    assert samples["engine"].unique().to_list() == ["file"] and samples["logprobs"].null_count() == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["filter", "good.jsonl"], "--recipe RECIPE is needed with files"),
        (["filter", "none.jsonl", "--recipe", "tiny.yaml"], "none.jsonl: no such response file"),
        (["select", "runs/a", "runs/b"], "wanted one run directory, or files"),
        (["select", "runs/a", "--run", "runs/b"], "wanted one run directory, or files"),
        (["train", "good.jsonl"], "good.jsonl is not a run directory"),
        (["dedup", "empty.jsonl", "--recipe", "tiny.yaml"], "empty.jsonl: the file holds no response"),
        (["score", "textless.jsonl", "--recipe", "tiny.yaml"], "no response: wanted a column text"),
        (["score", "torn.parquet", "--recipe", "tiny.yaml"], "torn.parquet: wanted a Parquet file"),
    ],
)
def test_wrong_use_is_told_once(place: Path, arguments: list[str], words: str) -> None:
    question, text = next(answered(1, seed=5))
    write(place / "good.jsonl", [{"question": question.question, "text": text}])
    write(place / "textless.jsonl", [{"question": question.question, "answer": question.answer}])
    (place / "empty.jsonl").write_text("\n\n")
    (place / "torn.parquet").write_bytes(b"PAR1 and then nothing")
    done = dasd(place, *arguments, "--quiet")
    assert done.returncode == 2, done.stderr
    assert done.stdout == "" and "Traceback" not in done.stderr
    assert words in done.stderr
    assert not list(place.glob("runs/*/stages/*sample*/manifest.json"))
