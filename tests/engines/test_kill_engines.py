"""Kills of a run with real engines: the command, which holds vLLM, and DeepSpeed's process."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engines.test_pipeline_engines import command
from tests.killing import Whole, kill_often, print_table, run_whole
from tests.launcher import Launcher

TARGETS = (
    ("sample-low", signal.SIGKILL, "dasd"),  # vLLM runs inside dasd's own process
    ("sample-high", signal.SIGTERM, "dasd"),
    ("train-low", signal.SIGKILL, "dasd_deepspeed.worker"),
)
"""The first stages with each engine: every start of one takes its time, so the run ends behind them."""


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    with Launcher(tmp_path_factory.mktemp("commands"), modules=()) as started:
        yield started


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_kills_change_nothing(launcher: Launcher, tmp_path: Path) -> None:
    def arguments(directory: Path) -> list[str]:
        return [*command(directory)[3:], "--until", TARGETS[-1][0]]

    whole: Whole = run_whole(launcher, tmp_path / "whole", arguments(tmp_path / "whole"))
    chance = random.Random(0)
    directories = {stage.partition("-")[2]: stage for stage in whole.timeline.stages}
    moments = [
        whole.timeline.draw(chance, directories[stage], with_signal, target)
        for stage, with_signal, target in TARGETS
    ]
    place = tmp_path / "killed"
    outcomes = kill_often(launcher, whole, place, arguments(place), moments)
    print_table(outcomes)
    assert all(outcome.hit for outcome in outcomes)
