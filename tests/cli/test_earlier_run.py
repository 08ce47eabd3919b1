"""Runs that an earlier dasd made: they open, show, resume and report as those of today.

``tests/data/run-before-rooms.tar.xz`` was made by the last version before the package was laid out in rooms, whose
run.json had no checksum: ``recipe.yaml``, ``runs/whole`` from end to end, and ``runs/stopped``, killed with SIGKILL in
the middle of its second stage. Models are the bundled ones. Only what ``platform.platform()`` says was replaced, and
the files of the lock were left out. Its recipe.yaml has keys of section ``plan`` that are gone. Fingerprints hold
dasd's own version and nothing of the machine or of torch.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.command import Done
from tests.command import dasd as command

from dasd.store import Run
from dasd.version import __version__

ARCHIVE = Path(__file__).parents[1] / "data" / "run-before-rooms.tar.xz"
STAGES = (
    "questions",
    "sample-low",
    "sample-heldout",
    "filter-low",
    "dedup-low",
    "score-low",
    "select-low",
    "evaluate-before",
    "train-low",
    "evaluate-low",
    "report",
)
same_version = pytest.mark.skipif(
    __version__ != "0.1.0",
    reason="stages of another version of dasd run again, as docs/run-directory.md says",
)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive's files; read them, don't change them."""
    place = tmp_path_factory.mktemp("earlier")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(place, filter="data")
    return place


def copied(kept: Path, name: str, place: Path) -> Path:
    shutil.copytree(kept / "runs" / name, place / "run")
    return place / "run"


def dasd(*arguments: str | Path, cwd: Path | None = None) -> str:
    done: Done = command(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def files(run: Path, below: str) -> dict[str, bytes]:
    """All but the notes of what a start verified."""
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in (run / below).rglob("*")
        if path.is_file() and path.name != "verified.jsonl"
    }


def events(run: Path) -> list[dict[str, Any]]:
    """Those of the last start."""
    told = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    starts = [at for at, event in enumerate(told) if event["kind"] == "run_started"]
    return told[starts[-1] :]


def test_the_runs_are_older_than_the_checksum_of_run_json(kept: Path) -> None:
    for name in ("whole", "stopped"):
        assert "checksum" not in json.loads((kept / "runs" / name / "run.json").read_text())


def test_it_is_listed_and_its_stages_and_figures_are_shown(kept: Path) -> None:
    whole = kept / "runs" / "whole"
    listed = json.loads(dasd("runs", "list", kept / "runs", "--json"))
    assert {Path(run["run"]).name for run in listed} == {"whole", "stopped"}
    shown = json.loads(dasd("runs", "show", whole, "--json"))
    assert [stage["name"] for stage in shown["stages"]] == list(STAGES)
    assert "0.042 ± 0.042" in dasd("runs", "show", whole)


def test_its_scores_and_a_comparison_are_those_of_its_rows(kept: Path) -> None:
    whole = kept / "runs" / "whole"
    shown = json.loads(dasd("scores", whole, "--json"))
    assert [each["checkpoint"] for each in shown["checkpoints"]] == ["before", "low"]
    rows = Run.open(whole).frame("eval", with_stage=True).collect()
    assert [each["attempts"] for each in shown["checkpoints"]] == [
        rows.filter(run_stage=f"evaluate-{name}").height for name in ("before", "low")
    ]
    assert "0.042" in dasd("scores", whole)
    assert "before" in dasd("scores", whole, "--compare", "before", "low")


def test_its_samples_are_inspected(kept: Path) -> None:
    whole = kept / "runs" / "whole"
    listed = json.loads(dasd("inspect", whole, "--json"))
    rows = Run.open(whole).frame("samples").collect()
    sample = rows.filter(stage="sample-low").row(0, named=True)
    assert sample["sample_id"] in json.dumps(listed)
    one = json.loads(dasd("inspect", whole, sample["sample_id"], "--json"))
    assert one["sample_id"] == sample["sample_id"] and one["text"] == sample["text"]


@same_version
def test_all_its_stages_stand(kept: Path, tmp_path: Path) -> None:
    run = copied(kept, "whole", tmp_path)
    before = files(run, "stages") | files(run, "checkpoints")
    planned = json.loads(dasd("pipeline", kept / "recipe.yaml", "--run", run, "--dry-run", "--json"))
    assert {stage["state"] for stage in planned} == {"done"}
    dasd("pipeline", kept / "recipe.yaml", "--run", run)
    assert [event["kind"] for event in events(run)] == ["run_started", "run_finished"]
    assert files(run, "stages") | files(run, "checkpoints") == before
    assert not (run / "superseded").exists()
    assert "checksum" in json.loads((run / "run.json").read_text())
    assert (
        json.loads((run / "run.json").read_text())["created"]
        == Run.open(kept / "runs" / "whole").record.created
    )


@same_version
def test_its_report_is_made_again_from_its_rows(kept: Path, tmp_path: Path) -> None:
    run = copied(kept, "whole", tmp_path)
    shutil.rmtree(run / "stages" / "11-report")
    (run / "report.html").unlink()
    (run / "report.json").unlink()
    dasd("report", run)
    assert [event["stage"] for event in events(run) if event["kind"] == "stage_finished"] == ["report"]
    first, again = (
        json.loads((place / "report.json").read_text()) for place in (kept / "runs" / "whole", run)
    )
    assert again.keys() >= first.keys()  # newer ones have more
    for what in ("checkpoints", "selections", "flow", "trainings", "distilled", "own_answers"):
        assert again[what] == first[what]
    assert "<svg" in (run / "report.html").read_text()


@same_version
def test_a_stage_that_was_killed_goes_on_from_the_rows_that_it_has(kept: Path, tmp_path: Path) -> None:
    run = copied(kept, "stopped", tmp_path)
    finished = pl.read_parquet(run / "stages" / "02-sample-low" / "part-samples-*.parquet")
    under_way = pl.concat(
        pl.read_parquet(path)
        for path in sorted((run / "stages" / "02-sample-low" / "scratch" / "under-way").iterdir())
    )
    assert finished.height == 16 and under_way.height > 0
    dasd("pipeline", kept / "recipe.yaml", "--run", run, "--until", "sample-low")
    told = events(run)
    assert [event["stage"] for event in told if event["kind"] == "stage_started"] == ["sample-low"]
    assert next(event["fields"] for event in told if event["kind"] == "stage_started")["units_done"] == 1
    assert not any(event["kind"] == "superseded" for event in told)
    rows = Run.open(run).frame("samples", "sample-low").collect()
    assert rows.height == rows["sample_id"].n_unique() == 48
    for had in (finished, under_way):
        found = had.select("sample_id").join(rows, on="sample_id", how="left", maintain_order="left")
        for column in ("text", "token_ids", "logprobs"):
            assert found[column].equals(had[column])
