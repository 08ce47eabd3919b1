"""A whole run on the bundled models, small enough for every test run, shared by the tests that only read it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

SMALL = (
    "questions.train.0.count=48",
    "questions.eval.0.count=24",
    "sampling.candidates=3",
    "sampling.chunk=48",
    "teacher.batch_size=48",
    "stages.mixed.questions=48",
    "trainer.epochs=1",
    "trainer.save_every=1",
    "evaluation.attempts=2",
    "evaluation.heldout=24",
)
"""Overrides of the demo recipe: seconds instead of minutes."""


def command(*arguments: str) -> list[str]:
    """The real command line, in this interpreter's environment."""
    return [sys.executable, "-m", "dasd", *arguments]


def pipeline_command(directory: Path, overrides: Sequence[str] = (), *extra: str) -> list[str]:
    """``dasd pipeline demo`` at the small size into ``directory``."""
    options = [part for override in (*SMALL, *overrides) for part in ("-o", override)]
    return command("pipeline", "demo", "--run", str(directory), *options, *extra)


def environment() -> dict[str, str]:
    """One thread, so that tests don't fight for cores; plain output; nothing fetched."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}


def dasd(arguments: list[str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        arguments, capture_output=True, text=True, cwd=cwd, env=environment(), timeout=280, check=False
    )


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished small run; read it, don't change it."""
    directory = tmp_path_factory.mktemp("runs") / "small"
    done = dasd(pipeline_command(directory))
    assert done.returncode == 0, done.stderr
    return directory
