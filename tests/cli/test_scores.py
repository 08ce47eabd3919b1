"""``dasd scores`` through the real command, over a small run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from tests.command import Done
from tests.command import dasd as command
from tests.stage_run import run_recipe

from dasd.store import Run


def dasd(*arguments: str | Path) -> Done:
    return command("scores", *arguments)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_recipe(tmp_path_factory.mktemp("scores") / "run", until="evaluate-low")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same questions and two more, evaluated once."""
    questions = {
        "eval": [{"source": "miniature", "count": 8}],
        "train": [{"source": "miniature", "count": 12}],
    }
    directory = tmp_path_factory.mktemp("other") / "run"
    return run_recipe(directory, until="evaluate-before", name="other", questions=questions)


def refused(done: Done, *words: str) -> None:
    assert done.returncode == 2, done.stderr
    assert done.stdout == "" and "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_table_and_json_tell_the_same(run: Run) -> None:
    done = dasd(run.directory)
    assert done.returncode == 0, done.stderr
    head, _, *lines = done.stdout.splitlines()
    assert head.split() == [
        "benchmark",
        "score",
        "checkpoint",
        "value",
        "error",
        "95",
        "%",
        "interval",
        "questions",
        "attempts",
    ]
    assert [line.split()[1:3] for line in lines[:4]] == [
        ["avg@2", "before"],
        ["avg@2", "low"],
        ["pass@2", "before"],
        ["pass@2", "low"],
    ]
    document = json.loads(dasd(run.directory, "--json").stdout)
    assert document["interval"] == {"method": "wilson", "level": 0.95, "draws": None}
    by_name = {(row["checkpoint"], row["metric"]): row for row in document["scores"]}
    for line in lines:
        cells = line.split()
        assert float(cells[3]) == pytest.approx(by_name[cells[2], cells[1]]["value"], abs=0.051)


def test_what_is_shown_can_be_chosen(run: Run) -> None:
    done = dasd(run.directory, "--checkpoint", "low", "--benchmark", "miniature", "--k", "1,2", "--json")
    document = json.loads(done.stdout)
    assert {row["checkpoint"] for row in document["scores"]} == {"low"}
    assert [row["metric"] for row in document["scores"]][:5] == [
        "avg@2",
        "pass@1",
        "majority@1",
        "pass@2",
        "majority@2",
    ]
    drawn = json.loads(dasd(run.directory, "--bootstrap", "300", "--seed", "5", "--json").stdout)
    assert (drawn["interval"]["draws"], drawn["seed"]) == (300, 5)


def test_everything_can_be_written(run: Run, tmp_path: Path) -> None:
    done = dasd(run.directory, "--output", tmp_path / "out", "--figure", tmp_path / "scores.svg", "--quiet")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "attempts.parquet",
        "scores.json",
    ]
    assert (tmp_path / "scores.svg").read_text().startswith("<?xml")
    attempts = tmp_path / "out" / "attempts.parquet"
    assert pl.read_parquet(attempts)["checkpoint"].unique().sort().to_list() == ["before", "low"]
    assert dasd(attempts).stdout == dasd(run.directory).stdout


def test_two_checkpoints_of_a_run(run: Run, tmp_path: Path) -> None:
    done = dasd(run.directory, "--compare", "before", "low", "--output", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document == json.loads((tmp_path / "out" / "comparison.json").read_text())
    right, tokens = document["comparisons"]
    assert (right["value"], tokens["value"]) == ("correct", "tokens")
    scores = {
        row["checkpoint"]: row["value"]
        for row in json.loads(dasd(run.directory, "--json").stdout)["scores"]
        if row["metric"] == "avg@2"
    }
    assert right["difference"] == pytest.approx(scores["low"] - scores["before"])
    assert right["questions"] == 6 and 0 < right["p_value"] <= 1 and right["exact"] is True
    table = dasd(run.directory, "--compare", "before", "low")
    assert "before" in table.stdout and "correct" in table.stdout and "higher" in table.stdout


def test_two_runs(run: Run, other: Run) -> None:
    refused(
        dasd(run.directory, other.directory), "several evaluations: before, low", "--compare FIRST SECOND"
    )
    refused(
        dasd(run.directory, other.directory, "--compare", "low", "before"),
        "2 asked of other/before only",
        "--shared compares the 6",
    )
    done = dasd(run.directory, other.directory, "--compare", "low", "before", "--shared", "--json")
    assert done.returncode == 0, done.stderr
    assert [row["left_out"] for row in json.loads(done.stdout)["comparisons"]] == [2, 2]
    alone = dasd(other.directory, other.directory)
    assert alone.returncode == 0, alone.stderr
    assert " 1 " in alone.stdout  # p-value of a run against itself


def test_as_a_process_it_prints_the_table_and_imports_nothing_heavy(run: Run) -> None:
    code = (
        "import sys\nfrom dasd.cli.guard import run\n"
        f"code = run(['scores', {str(run.directory)!r}])\n"
        "heavy = {'torch', 'transformers', 'matplotlib', 'lm_eval', 'datasets'} & set(sys.modules)\n"
        "print(*heavy, file=sys.stderr)\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "")
    assert done.stdout == dasd(run.directory).stdout


def test_wrong_use_is_told(run: Run, tmp_path: Path) -> None:
    refused(dasd(run.directory, "--checkpoint", "lwo"), "'lwo'; did you mean 'low'? Evaluated: before, low")
    refused(dasd(run.directory, "--compare", "before", "lwo"), "did you mean 'low'")
    refused(dasd(run.directory, "--k", "1,x"), "numbers from 1")
    refused(dasd(run.directory, "--shared"), "--compare FIRST SECOND")
    refused(dasd(run.directory, "--compare", "before", "low", "--k", "2"), "--k has no part in a comparison")
    refused(dasd(run.directory, "--figure", tmp_path / "x.pdf"), ".svg or .png")
    refused(dasd(tmp_path), "is not a run directory")


def test_a_run_without_evaluation_says_how_to_get_one(tmp_path: Path) -> None:
    run = run_recipe(tmp_path / "run", until="questions")
    refused(dasd(run.directory), "no finished evaluation", "finished stages: questions", "dasd evaluate")
