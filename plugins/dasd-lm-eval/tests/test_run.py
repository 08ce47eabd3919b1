"""A whole run: questions, answers, metrics, and lm_eval's own results in the run directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from lm_eval_asking import own_results

import dasd
from dasd.base.progress import Console

TASKS = ("sums", "options", "beginnings", "sums_bleu")


@pytest.fixture(scope="module")
def run(tasks: Path, tmp_path_factory: pytest.TempPathFactory) -> dasd.Run:
    student = {"model": "dasd:mini-student", "precision": "fp32", "device": "cpu", "batch_size": 16}
    sources: list[dict[str, Any]] = [
        {"source": "lm-eval", "options": {"task": task, "include_path": str(tasks)}} for task in TASKS
    ]
    recipe = {
        "student": student,
        "plugins": ["lm-eval"],
        "questions": {"eval": [*sources, {"source": "miniature", "count": 4}]},
        "sampling": {"chunk": 5},
        "evaluation": {"attempts": 2, "max_tokens": 120},
    }
    directory = tmp_path_factory.mktemp("runs") / "run"
    return dasd.Pipeline.from_recipe(recipe, console=Console(quiet=True)).run(directory, until="evaluate")


def read(run: dasd.Run, task: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (run.directory / f"lm-eval/before/{task}/results_attempt0.json").read_text()
    )
    return found


@pytest.mark.parametrize("task", TASKS)
def test_results_in_the_run_are_lm_evals_own(run: dasd.Run, tasks: Path, task: str) -> None:
    mine, own = read(run, task), own_results(tasks, task)
    theirs = own["results"][task]
    assert mine["results"][task].keys() == theirs.keys()
    for name, value in theirs.items():
        if "stderr" not in name:  # their run drew no bootstraps
            assert mine["results"][task][name] == (
                pytest.approx(value, rel=1e-3) if isinstance(value, float) else value
            )
    for key in ("versions", "n-shot", "n-samples", "higher_is_better"):
        assert mine[key] == own[key]
    lines = (run.directory / f"lm-eval/before/{task}/samples_{task}_attempt0.jsonl").read_text().splitlines()
    assert [json.loads(line)["doc_id"] for line in lines] == [
        sample["doc_id"] for sample in own["samples"][task]
    ]


def test_metrics_of_the_stage_are_the_tasks_own(run: dasd.Run) -> None:
    overall = (pl.col("metric") == "accuracy") & (pl.col("group") == "all")
    accuracy = dict(run.frame("metrics").filter(overall).select("benchmark", "value").collect().iter_rows())
    assert accuracy.keys() == {"sums", "options", "beginnings", "miniature"}
    assert accuracy["sums"] == pytest.approx(read(run, "sums")["results"]["sums"]["exact_match,strict"])
    assert accuracy["options"] == pytest.approx(read(run, "options")["results"]["options"]["acc,none"])


def test_every_source_is_asked_as_often_as_it_says(run: dasd.Run) -> None:
    attempts = dict(
        run.frame("eval").group_by("benchmark").agg(pl.col("attempt").max() + 1).collect().iter_rows()
    )
    assert attempts == {**dict.fromkeys(TASKS, 1), "miniature": 2}


def test_a_metric_that_is_no_yes_or_no_is_in_the_results(run: dasd.Run) -> None:
    results = read(run, "sums_bleu")["results"]["sums_bleu"]
    assert isinstance(results["bleu,none"], float)
    assert isinstance(results["bleu_stderr,none"], float)
    assert read(run, "beginnings")["results"]["beginnings"]["perplexity,none"] > 1


def test_the_command_makes_the_same_files_again(run: dasd.Run) -> None:
    from click.testing import CliRunner

    from dasd_lm_eval.command import command

    before = {path: path.read_bytes() for path in run.directory.glob("lm-eval/*/*/*")}
    for path in before:
        path.unlink()
    done = CliRunner().invoke(command, [str(run.directory), "--json"], catch_exceptions=False)
    assert {Path(path) for path in json.loads(done.stdout)["files"]} == before.keys()
    assert {path: path.read_bytes() for path in before} == before
