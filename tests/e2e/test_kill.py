"""kill -9 at any moment and start again: the result is that of a run which was never interrupted."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import polars as pl
import pytest
from tests.e2e.conftest import dasd, environment, pipeline_command

import dasd as package

FRAMES = ("samples", "verdicts", "scores", "sentences", "train")


def killed_after(command: list[str], seconds: float) -> bool:
    """Start ``command`` and kill it after ``seconds``; whether it was still running then."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
        start_new_session=True,
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def same(left: pl.DataFrame, right: pl.DataFrame) -> bool:
    """Equal rows in any order, floats to the bit."""
    order = [name for name, dtype in left.schema.items() if dtype == pl.String and name != "text"]
    return left.sort(order, maintain_order=True).equals(right.sort(order, maintain_order=True))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_three_kills_change_nothing(small_run: Path, tmp_path: Path) -> None:
    directory = tmp_path / "killed"
    command = pipeline_command(directory)
    begin = time.perf_counter()
    done = dasd(pipeline_command(tmp_path / "timed"))
    whole = time.perf_counter() - begin
    assert done.returncode == 0, done.stderr
    moments = random.Random(0)
    # Starting Python and torch takes seconds, so early moments would only ever hit the imports.
    kills = sum(killed_after(command, moments.uniform(0.25, 0.8) * whole) for _ in range(3))
    assert kills >= 2
    finished = dasd(command)
    assert finished.returncode == 0, finished.stderr
    ours, theirs = package.Run.open(directory), package.Run.open(small_run)
    for frame in FRAMES:
        assert same(ours.frame(frame).collect(), theirs.frame(frame).collect()), frame
    for stage in (1, 2, 3):
        weights = f"checkpoints/stage{stage}/model.safetensors"
        assert (directory / weights).read_bytes() == (small_run / weights).read_bytes(), weights
    metrics = (run.frame("metrics").collect().drop("standard_error") for run in (ours, theirs))
    assert same(*metrics)
