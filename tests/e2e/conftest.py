"""A whole run on the bundled models, small enough for every test run, shared by the tests that only read it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.command import dasd

SMALL = (
    "questions.train.0.count=48",
    "questions.eval.0.count=12",
    "sampling.candidates=3",
    "sampling.chunk=48",
    "teacher.batch_size=48",
    "stages.mixed.questions=48",
    "trainer.epochs=1",
    "trainer.save_every=1",
    "evaluation.attempts=2",
    "evaluation.heldout=12",
)
"""Overrides of the demo recipe: seconds instead of minutes."""


def pipeline(directory: Path, overrides: Sequence[str] = (), *extra: str) -> list[str]:
    """Arguments of ``dasd`` for the demo recipe at the small size into ``directory``."""
    options = [part for override in (*SMALL, *overrides) for part in ("-o", override)]
    return ["pipeline", "demo", "--run", str(directory), *options, *extra]


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished small run of the real command; read it, don't change it."""
    directory = tmp_path_factory.mktemp("runs") / "small"
    done = dasd(*pipeline(directory), OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", NO_COLOR="1")
    assert done.returncode == 0, done.stderr
    return directory
