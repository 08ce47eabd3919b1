"""The command benchmarks.gpu as an instrument: its tables, its data, and that it runs at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmarks.gpu.results import Run, read, table, write
from benchmarks.gpu.sizes import TRIAL
from benchmarks.gpu.training import make_data

ROOT = Path(__file__).parents[3]
RUNS = [
    Run("training", "small", "dasd", 0, 2.0, 200, 2**30, first_loss=3.5),
    Run("training", "small", "dasd", 1, 1.0, 200, 2**31),
    Run("training", "small", "peer", 0, 4.0, 200, 2**30, first_loss=3.25),
    Run("training", "small", "peer", 1, 2.0, 200, None),
    Run("training", "small", "full", 0, failed="out of memory"),
]


def test_the_first_round_stands_apart_and_ratios_are_of_one_round() -> None:
    lines = table(RUNS).splitlines()
    assert lines[0] == "### Training"
    assert lines[-3:] == [
        "| small | dasd | 100 | 200 / 200 / 200 |  |  | 2.0 | first loss 3.5000 |",
        "| small | peer | 50 | 100 / 100 / 100 | 2.00 | 2.00 / 2.00 / 2.00 | 1.0 | first loss 3.2500 |",
        "| small | full |  |  |  |  |  | out of memory |",
    ]


def test_a_file_gives_back_its_runs(tmp_path: Path) -> None:
    write(tmp_path / "gpu.json", {"device": "some"}, {}, [], RUNS)
    assert read(tmp_path / "gpu.json") == ({"device": "some"}, [], RUNS)


def test_packs_hold_each_response_once(tmp_path: Path) -> None:
    work = TRIAL.training[0]
    data = make_data(work, tmp_path)
    assert sorted(np.concatenate(data.packs)) == list(range(len(data.rows)))
    assert all(sum(len(data.rows[row]) for row in pack) <= work.max_length for pack in data.packs)
    assert len(data.packs) >= (work.warmup + work.steps + 1) * work.packs


@pytest.mark.slow
def test_the_trial_runs_on_a_cpu(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--trial", "--device", "cpu", "--rounds", "1"]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "gpu.json")],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "gpu.json").read_text())
    assert all(finding["value"] <= finding["bound"] for finding in document["agreement"])
    losses = {run["contender"]: run["first_loss"] for run in document["runs"] if run["part"] == "training"}
    assert losses["transformers, flattened"] == pytest.approx(losses["dasd"], abs=1e-3)
    assert {run["part"] for run in document["runs"]} == {"training", "scoring", "sampling"}
