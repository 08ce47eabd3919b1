"""Another program fills the disk under a run: one clear message, and the same command finishes it later."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from tests.e2e.conftest import dasd, environment, pipeline_command
from tests.e2e.test_kill import FRAMES, same
from tests.small_disk import fill, small_disk

import dasd as package


def begun(log: Path, stage: str) -> bool:
    """Whether the run has started that stage."""
    events = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return ("stage_started", stage) in [(event["kind"], event["stage"]) for event in events]


def test_a_disk_that_fills_up_stops_the_run_and_loses_nothing(small_run: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 72) as disk:
        directory = disk / "run"
        command = pipeline_command(directory)
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment()) as process:
            while process.poll() is None and not begun(directory / "events.jsonl", "sample-low"):
                time.sleep(0.02)
            fill(disk / "other")
            _, stderr = process.communicate(timeout=280)
        assert process.returncode == 1, stderr
        assert "error: the disk is full" in stderr and "same command" in stderr
        assert "Traceback" not in stderr
        (disk / "other").unlink()
        again = dasd(command)
        assert again.returncode == 0, again.stderr
        ours, theirs = package.Run.open(directory), package.Run.open(small_run)
        for frame in FRAMES:
            assert same(ours.frame(frame).collect(), theirs.frame(frame).collect()), frame
