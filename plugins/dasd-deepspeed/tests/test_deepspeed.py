"""The trainer in real processes: held against the protocol, against the built-in trainer, killed and resumed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import deepspeed_training
import numpy as np
import polars as pl
import pytest
from deepspeed_training import OPTIONS, STUDENT, processes_of, settings, shards, spec

from dasd.api import (
    Checkpoint,
    InputError,
    RecipeError,
    TrainerSettings,
    TrainingError,
    TrainProgress,
    TrainSpec,
)
from dasd.api.training import Position
from dasd.models.files import resolve_model
from dasd.plugins.host import PluginHost
from dasd.testing import TrainerSuite

pytestmark = [
    pytest.mark.skipif(
        find_spec("deepspeed") is None, reason="DeepSpeed is not installed in this environment"
    ),
    pytest.mark.filterwarnings("ignore::FutureWarning:deepspeed"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:deepspeed"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the rows and the trainings of this file."""
    return tmp_path_factory.mktemp("deepspeed")


def train(root: Path, wanted: TrainSpec, *, resume: bool = False) -> Checkpoint:
    from dasd_deepspeed.trainer import DeepSpeedTrainer

    return DeepSpeedTrainer(wanted.settings).train(shards(root), wanted, resume)


def built_in(root: Path, name: str, **changes: Any) -> list[TrainProgress]:
    import torch

    from dasd.training.torch.trainer import TorchTrainer

    torch.set_num_threads(1)
    steps: list[TrainProgress] = []
    wanted = spec(root, name, on_step=steps.append, options={}, **changes)
    TorchTrainer(wanted.settings).train(shards(root), wanted, resume=False)
    return steps


def losses(steps: Sequence[TrainProgress]) -> list[float]:
    return [step.loss for step in steps]


def none_left(state: Path) -> bool:
    """Whether the processes of a training are gone, given a moment to go."""
    until = time.monotonic() + 20
    while processes_of(state) and time.monotonic() < until:
        os.sched_yield()
    return processes_of(state) == []


class TestDeepSpeed(TrainerSuite):
    """Two processes, everything divided."""

    name = "deepspeed"
    options: ClassVar[dict[str, Any]] = OPTIONS

    @classmethod
    def make_settings(cls, **changes: Any) -> TrainerSettings:
        return settings(**{"packing": False, "batch_size": 4} | changes)

    @classmethod
    def rows(cls, weights: Sequence[float] = (1.0, 0.5, 2.0)) -> pl.DataFrame:
        return super().rows(weights)

    def test_losses_are_those_of_the_built_in_trainer(self) -> None:
        import torch

        from dasd.training.torch.trainer import TorchTrainer

        torch.set_num_threads(1)
        reference: list[TrainProgress] = []
        wanted = self.make_spec("torch", self.make_settings(options={}), reference.append)
        TorchTrainer(wanted.settings).train(self.shards(), wanted, resume=False)
        steps = self.whole().steps
        assert losses(steps) == pytest.approx(losses(reference), rel=1e-5)
        assert [s.grad_norm for s in steps] == pytest.approx([s.grad_norm for s in reference], rel=1e-4)
        columns = ["step", "learning_rate", "tokens", "epoch"]
        curves = [
            pl.read_parquet(self.directory() / name / "out/losses.parquet") for name in ("whole", "torch")
        ]
        assert curves[0][columns].equals(curves[1][columns])
        assert processes_of(self.directory() / "whole" / "state") == []

    def test_killed_and_resumed_is_as_never_killed(self) -> None:
        """kill -9 of the host's process: its processes go with it, and the next start gives the same model."""
        from safetensors.torch import load_file

        whole, root = self.whole(), self.directory()
        command = [sys.executable, deepspeed_training.__file__, str(root / "killed")]
        command += [*map(str, self.shards()), self.make_settings().model_dump_json()]
        host = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert host.stdout is not None
        for line in host.stdout:
            if line.strip() == "3":
                break
        state = root / "killed" / "state"
        assert len(processes_of(state)) == 2
        host.kill()
        host.wait()
        host.stdout.close()
        assert none_left(state)
        assert not (root / "killed" / "out").exists()
        steps: list[TrainProgress] = []
        wanted = self.make_spec("killed", self.make_settings(), steps.append)
        self.make_trainer(wanted.settings).train(self.shards(), wanted, resume=True)
        assert [step.step for step in steps] == [3, 4, 5, 6, 7, 8]
        assert losses(steps) == losses(whole.steps)[2:]
        mine, other = (load_file(root / name / "out/model.safetensors") for name in ("killed", "whole"))
        assert mine.keys() == other.keys()
        assert all(bool((mine[name] == other[name]).all()) for name in other)

    @classmethod
    def shards(cls) -> list[Path]:
        """Those of ``whole``."""
        cls.whole()
        return sorted((cls.directory() / "whole" / "rows").glob("*.parquet"))


def test_a_process_that_dies_and_muon_under_another_division_from_the_state_before_an_altered_one(
    root: Path,
) -> None:
    steps: list[TrainProgress] = []
    chosen = {"optimizer": "muon", "learning_rate": 1e-2}
    first = spec(root, "muon", **chosen, options={"zero_stage": 2, "processes": 2})

    def kill_one(step: TrainProgress) -> None:
        steps.append(step)
        if step.step == 5:
            os.kill(processes_of(first.state)[-1], signal.SIGKILL)

    with pytest.raises(TrainingError, match=r"process [01] ended .*last saved state is kept") as caught:
        train(root, replace(first, on_step=kill_one))
    assert "rank-" in str(caught.value)
    assert processes_of(first.state) == []
    assert not first.output.exists()
    newest = first.state / "state-00000004" / "rank-0.safetensors"
    whole = newest.read_bytes()
    newest.write_bytes(whole[:-100] + bytes([whole[-100] ^ 64]) + whole[-99:])
    second = spec(root, "muon", on_step=steps.append, **chosen, options={"zero_stage": 1})
    train(root, second, resume=True)
    assert [step.step for step in steps] == [1, 2, 3, 4, 5, 3, 4, 5, 6, 7, 8]
    # Muon's own arithmetic is in bf16, so the order of additions shows more than with AdamW.
    reference = losses(built_in(root, "torch-muon", **chosen))
    assert losses(steps[:1]) == pytest.approx(reference[:1], rel=1e-6)
    assert losses(steps[:5]) == pytest.approx(reference[:5], rel=1e-3)
    assert losses(steps[5:]) == pytest.approx(reference[2:], rel=1e-3)


@pytest.mark.parametrize("name", ["manifest.json", "rank-0.safetensors"])
def test_every_byte_of_a_state_counts(tmp_path: Path, name: str) -> None:
    """A newer state with one byte altered is passed over for the one before."""
    from safetensors.numpy import save_file

    from dasd_deepspeed.state import find_state, seal

    for step in (2, 4):
        directory = tmp_path / f"state-{step:08d}"
        directory.mkdir()
        save_file({"weight/a": np.arange(step, dtype=np.float32)}, directory / "rank-0.safetensors")
        seal(directory, "key", Position(step=step, tokens=9, seconds=1.5))
    newest, path, chance = find_state(tmp_path, "key"), directory / name, random.Random(name)
    whole, same = path.read_bytes(), []
    with path.open("r+b", buffering=0) as file:
        for place, byte in enumerate(whole):
            os.pwrite(file.fileno(), bytes([byte ^ chance.randrange(1, 256)]), place)
            found = find_state(tmp_path, "key")
            os.pwrite(file.fileno(), bytes([byte]), place)
            assert found is not None
            if found[1].step != 2:
                assert found == newest
                same.append(place)
    # One white space for another, and the name of the checksum's own key.
    assert len(same) < 8 and (name == "manifest.json" or not same), same


def test_an_error_of_a_process_is_raised_as_what_it_is(root: Path, tmp_path: Path) -> None:
    """A model directory without weights."""
    shutil.copy(Path(resolve_model(STUDENT)) / "config.json", tmp_path)
    with pytest.raises(InputError, match="can't be loaded"):
        train(root, spec(root, "nothing", model=tmp_path, options={"zero_stage": 1}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"options": {"zero": 3}}, "zero"),
        ({"options": {"zero_stage": 4}}, "zero_stage"),
        ({"options": {"zero_stage": 0, "offload": "optimizer"}}, "needs zero_stage 1, 2 or 3; got 0"),
        ({"options": {"zero_stage": 2, "offload": "parameters"}}, "needs zero_stage 3; got 2"),
        ({"options": {"hostfile": "hosts", "processes": 2}}, "can't both be set"),
        ({"device": "cuda:0"}, "wants auto, cpu or cuda"),
    ],
)
def test_wrong_options_are_refused_before_anything_runs(changes: dict[str, Any], words: str) -> None:
    chosen: TrainerSettings = settings(**changes)
    with pytest.raises(RecipeError, match=words):
        PluginHost.load(["deepspeed"]).registry.make_trainer(chosen)


def test_a_hostfile_that_is_not_there(root: Path) -> None:
    with pytest.raises(InputError, match="hostfile: nowhere isn't a file"):
        train(root, spec(root, "hosts", options={"hostfile": "nowhere"}))
