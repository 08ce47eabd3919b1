"""``dasd pipeline`` from question to report on the bundled models, and what a second start does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from tests.command import dasd
from tests.e2e.conftest import pipeline

import dasd as package

STAGES = ["questions", "sample-low", "select-high", "train-low", "mix-mixed", "train-mixed", "report"]


def manifests(directory: Path) -> dict[str, str]:
    """Stage -> the time at which it finished."""
    return {
        path.parent.name.split("-", 1)[1]: json.loads(path.read_text())["finished"]
        for path in sorted((directory / "stages").glob("*/manifest.json"))
    }


def test_every_stage_leaves_its_manifest_and_the_report_opens_offline(small_run: Path) -> None:
    assert set(STAGES) <= set(manifests(small_run))
    html = (small_run / "report.html").read_text()
    assert "<svg" in html
    assert 'src="http' not in html and 'href="http' not in html


def test_checkpoints_load_and_differ_from_the_student(small_run: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from dasd.models.files import resolve_model

    before = AutoModelForCausalLM.from_pretrained(resolve_model("dasd:mini-student")).state_dict()
    for stage in (1, 2, 3):
        directory = small_run / "checkpoints" / f"stage{stage}"
        after = AutoModelForCausalLM.from_pretrained(directory).state_dict()
        AutoTokenizer.from_pretrained(directory)
        assert after.keys() == before.keys()
        assert any(not torch.equal(after[name].float(), before[name].float()) for name in after)
        before = after


def test_frames_hold_together(small_run: Path) -> None:
    run = package.Run.open(small_run)
    samples = run.frame("samples").filter(pl.col("stage").is_in(["sample-low", "sample-high"])).collect()
    assert samples.height == 2 * 48 * 3
    assert samples.get_column("sample_id").n_unique() == samples.height
    ends = samples.select(last=pl.col("token_ends").list.last(), bytes=pl.col("text").str.len_bytes())
    assert (ends["last"] == ends["bytes"]).all()
    scored = run.frame("scores").collect().get_column("sample_id")
    assert scored.is_in(run.frame("samples").collect().get_column("sample_id").to_list()).all()
    assert set(run.frame("sentences").collect().get_column("kind")) <= {
        "teacher",
        "student",
        "common",
        "shared",
        "boosted",
    }
    accuracy = run.frame("metrics").filter(pl.col("metric") == "accuracy").collect()
    assert {"before", "low", "high", "mixed"} <= set(accuracy.get_column("checkpoint"))


def test_a_second_start_does_nothing_again(small_run: Path) -> None:
    first = manifests(small_run)
    again = dasd(*pipeline(small_run))
    assert again.returncode == 0, again.stderr
    assert manifests(small_run) == first


def test_a_changed_setting_runs_that_stage_and_those_after_it(small_run: Path, tmp_path: Path) -> None:
    directory = tmp_path / "changed"
    shutil.copytree(small_run, directory)
    first = manifests(directory)
    changed = dasd(*pipeline(directory, ["select.selector=longest"]))
    assert changed.returncode == 0, changed.stderr
    second = manifests(directory)
    ran = {name for name in first if first[name] != second[name]}
    assert {"select-low", "select-high", "train-low", "train-mixed", "report"} <= ran
    assert not ran & {"questions", "sample-low", "sample-high", "filter-low", "dedup-low", "score-low"}


def test_a_torn_part_is_named(small_run: Path, tmp_path: Path) -> None:
    directory = tmp_path / "torn"
    shutil.copytree(small_run, directory)
    part = next((directory / "stages").glob("*-sample-high/part-samples-*.parquet"))
    part.write_bytes(part.read_bytes()[:-100])
    result = dasd(*pipeline(directory))
    assert result.returncode == 1
    assert part.name in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("seed", [1])
def test_another_seed_gives_other_samples(small_run: Path, tmp_path: Path, seed: int) -> None:
    directory = tmp_path / "seeded"
    done = dasd(*pipeline(directory, [f"seed={seed}"], "--until", "sample"))
    assert done.returncode == 0, done.stderr
    ours = package.Run.open(directory).frame("samples").collect().get_column("text").to_list()
    theirs = package.Run.open(small_run).frame("samples").collect().get_column("text").to_list()
    assert ours
    assert ours != theirs[: len(ours)]
