"""The evidence suite runs at all: one cell of four steps by the bundled models, in place of ones that learn for minutes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from math import isfinite
from pathlib import Path

import polars as pl

from dasd.models.miniature import model_path

ROOT = Path(__file__).parents[2]
SUITE = """
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.evidence.results import write_table
from benchmarks.evidence.run import jobs, run_suite
from benchmarks.evidence.scale import QUICK
from dasd.base.progress import Console

TINY = replace(
    QUICK,
    arms=("own-sampled",),
    questions=12,
    candidates=2,
    asked=4,
    attempts=2,
    heldout=4,
    forced=1,
    steps={"1x": 4},
    rounds=2,
    row_tokens=1_000,
)
if __name__ == "__main__":
    directory = Path(sys.argv[1])
    run_suite(jobs(directory, TINY), TINY, 1, Console())
    write_table(directory)
"""


def test_a_cell_runs_and_is_in_the_table(tmp_path: Path) -> None:
    script, directory = tmp_path / "suite.py", tmp_path / "suite"
    script.write_text(SUITE, encoding="utf-8")
    for role in ("teacher", "student"):
        shutil.copytree(model_path(role), directory / "modes" / "seed0" / "models" / role)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(script), str(directory)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    table = pl.read_parquet(directory / "results.parquet")
    assert {"teacher", "before", "own-sampled"} <= set(table["arm"])
    cell = dict(table.filter(pl.col("arm") == "own-sampled").select("measure", "value").iter_rows())
    assert isfinite(cell["kl"])
    assert cell["steps"] == 4
    assert {"pass_at_2", "over_cap", "calibration.brier"} <= set(cell)
    # Two rounds in which the teacher scores what the student writes; random selection needs no score of the student.
    assert cell["cost.teacher_scored"] == cell["cost.student_sampled"] > 0
    assert cell["cost.student_scored"] == 0
    assert cell["cost.trained"] == cell["tokens"]
    assert cell["cost.flop"] > 1e6 * cell["cost.teacher_sampled"]
