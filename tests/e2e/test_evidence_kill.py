"""A cell of the evidence suite that is killed in its training goes on to the very result of one that isn't."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUITE = """
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.evidence.run import jobs, run_suite
from benchmarks.evidence.scale import QUICK
from dasd.base.progress import Console

TINY = replace(
    QUICK, worlds=("modes",), arms=("high-unfiltered",), teacher_share=0.35, questions=24, candidates=2, asked=8, attempts=1,
    heldout=8, forced=2, steps={"1x": 600},
)
if __name__ == "__main__":
    run_suite(jobs(Path(sys.argv[1]), TINY), TINY, 1, Console())
"""


def start(directory: Path) -> subprocess.Popen[str]:
    script = directory.parent / "suite.py"
    script.write_text(SUITE, encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, str(script), str(directory)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(directory: Path) -> None:
    suite = start(directory)
    _, said = suite.communicate()
    assert suite.returncode == 0, said


def worker_of(parent: int) -> int:
    """The child that holds torch: the one of the largest resident set."""
    found = subprocess.run(
        ["ps", "--ppid", str(parent), "-o", "pid=,rss=", "--sort=-rss"],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(found.stdout.split()[0])


def running(process: int) -> bool:
    """Whether it is there and no zombie."""
    found = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False
    )
    return found.stdout.strip()[:1] not in ("", "Z", "X")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("victim", ["worker", "suite"])
def test_a_killed_cell_goes_on_to_the_same_result(tmp_path: Path, victim: str) -> None:
    directory = tmp_path / "suite"
    finish(directory)
    cell = directory / "modes" / "seed0" / "cells" / "high-unfiltered@1x"
    wanted = json.loads((cell / "result.json").read_text())["measures"]
    shutil.rmtree(cell)
    suite = start(directory)
    while not list(cell.glob("run/stages/*-train-high/scratch/losses.jsonl")):
        assert suite.poll() is None
        time.sleep(0.05)
    worker = worker_of(suite.pid)
    os.kill(worker if victim == "worker" else suite.pid, signal.SIGKILL)
    _, said = suite.communicate()
    assert suite.returncode != 0
    if victim == "worker":
        assert "a worker process was killed in modes seed 0: high-unfiltered@1x" in said
    while running(worker):  # It ends with the suite; pytest's timeout catches one that doesn't.
        time.sleep(0.05)
    assert not (cell / "result.json").exists()
    finish(directory)
    assert json.loads((cell / "result.json").read_text())["measures"] == wanted
