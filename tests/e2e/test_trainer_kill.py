"""kill -9 at any moment of a training changes nothing in its result."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import torch
from safetensors.torch import load_file
from tests.trainer_run import make_model, make_rows, spec, train, write_shards

PROGRAM = Path(__file__).parents[1] / "trainer_run.py"
CHANGES = ("epochs=30", "save_every=2")
COLUMNS = ["stage", "step", "epoch", "loss", "learning_rate", "grad_norm", "tokens"]


def test_three_kills_change_nothing(tmp_path: Path) -> None:
    optimizer = "muon"  # which holds an AdamW too
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for root in (whole, killed):
        make_model(root / "model")
        shards = write_shards(root / "rows", make_rows(24))
        if root == whole:
            result = train(shards, spec(root, epochs=30, save_every=2, optimizer=optimizer))
    draw = random.Random(optimizer)
    starts: list[int] = []
    for _ in range(3):
        steps = _start_and_kill(killed, optimizer, draw)
        starts.append(steps[0])
        assert not (killed / "out").exists()
    assert starts[0] == 1
    assert starts == sorted(starts)
    assert starts[-1] > 1, "no start went on from a state"
    last = subprocess.run(_command(killed, optimizer), capture_output=True, text=True, check=True)
    done = [int(line) for line in last.stdout.split()]
    assert done == list(range(done[0], result.steps + 1))
    assert done[0] > starts[-1]
    wanted, got = (load_file(root / "out" / "model.safetensors") for root in (whole, killed))
    assert wanted.keys() == got.keys()
    assert all(torch.equal(wanted[name], got[name]) for name in wanted)
    curves = [pl.read_parquet(root / "out" / "losses.parquet").select(COLUMNS) for root in (whole, killed)]
    assert curves[0].equals(curves[1])


def _command(root: Path, optimizer: str) -> list[str]:
    return [sys.executable, str(PROGRAM), str(root), *CHANGES, f"optimizer={optimizer}"]


def _start_and_kill(root: Path, optimizer: str, draw: random.Random) -> list[int]:
    """Start, let 5 to 15 steps pass, kill at a random instant within the next one; the steps seen."""
    process = subprocess.Popen(_command(root, optimizer), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    wanted = draw.randint(5, 15)
    steps: list[int] = []
    while len(steps) < wanted:
        line = process.stdout.readline()
        assert line, f"the training ended by itself after steps {steps}"
        steps.append(int(line))
    until = time.perf_counter() + draw.random() * 0.02
    while time.perf_counter() < until:
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    return steps
