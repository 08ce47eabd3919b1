"""In a run: what was read is kept beside the questions, a changed directory is noticed, the command line tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmark_rows import csv, gpqa, jsonl, math500

from dasd.cli.guard import run as command_line
from dasd.pipeline.runner import Pipeline

SOURCE = "question-sources.jsonl"


def pipeline(evaluation: list[dict[str, Any]]) -> Pipeline:
    overrides = [
        'questions.train=[{"source": "miniature", "count": 4}]',
        f"questions.eval={json.dumps(evaluation)}",
        "seed=5",
    ]
    return Pipeline.from_recipe("demo", plugins=["benchmarks"], overrides=overrides)


def test_what_was_read_is_kept_in_the_run(tmp_path: Path) -> None:
    held = tmp_path / "held"
    jsonl(held / "test.jsonl", math500())
    gpqa_file = csv(tmp_path / "gpqa_diamond.csv", gpqa(6))
    evaluation = [
        {"source": "math-500", "options": {"path": str(held), "expected": 5}},
        {"source": "gpqa-diamond", "count": 4, "options": {"path": str(gpqa_file)}},
    ]
    run = pipeline(evaluation).run(tmp_path / "run", until="questions")
    mathematics, science = map(json.loads, (tmp_path / "run" / SOURCE).read_text().splitlines())
    assert mathematics["source"] == "math-500"
    assert mathematics["files"][0]["name"] == "test.jsonl"
    assert len(mathematics["files"][0]["sha256"]) == 64
    assert (science["count"], science["files"][0]["rows"]) == (4, 6)
    assert science["selection"] == "options shuffled with seed 5"
    assert science["questions"][0]["remark"].startswith("order ")
    asked = run.frame("questions").collect().filter(split="eval")["question_id"].to_list()
    assert asked == [each["id"] for source in (mathematics, science) for each in source["questions"]]

    jsonl(held / "test.jsonl", [{**row, "answer": "1"} for row in math500()])
    pipeline(evaluation).run(tmp_path / "run", until="questions")
    changed, _ = map(json.loads, (tmp_path / "run" / SOURCE).read_text().splitlines())
    assert changed["question_ids"] == mathematics["question_ids"]
    assert changed["files"][0]["sha256"] != mathematics["files"][0]["sha256"]


def test_the_command_line_names_the_file_to_bring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        'teacher: {model: "dasd:mini-teacher"}\nstudent: {model: "dasd:mini-student"}\n'
        "questions:\n  train: [{source: miniature, count: 2}]\n"
        "  eval:\n    - source: livecodebench-v5\n      options: {since: 2024-11-01, path: lcb}\n"
        "stages: [{name: low, temperature: 0.6}]\n"
    )
    (tmp_path / "lcb").mkdir()
    monkeypatch.chdir(tmp_path)
    arguments = ["pipeline", str(recipe), "--plugins", "benchmarks", "--run", "run", "--until", "questions"]
    assert command_line(arguments) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "lcb holds no data file; wanted test5.jsonl of livecodebench/code_generation_lite" in told
    assert "Traceback" not in told
