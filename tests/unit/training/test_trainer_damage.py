"""A training's state, curve and checkpoint that were damaged: trained anew, done again, or an error; never other numbers."""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tests.fuzzing import fuzz
from tests.trainer_run import make_model, make_rows, spec, train, write_shards
from tests.unit.store.test_store_damage import damaged

from dasd.api import TrainProgress
from dasd.errors import StoreError
from dasd.training.position import Position
from dasd.training.torch.state import load_state, save_state

COLUMNS = ["step", "loss", "learning_rate", "grad_norm", "tokens", "epoch"]


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``whole/``: a training that was never stopped; ``state/``: its state at step 3, where it was stopped."""
    root = tmp_path_factory.mktemp("cut")
    make_model(root / "model")
    shards = write_shards(root / "rows", make_rows(12))

    def stop(progress: TrainProgress) -> None:
        if progress.step == 3:
            raise KeyboardInterrupt

    wanted = spec(root, save_every=100, batch_size=2)
    train(shards, replace(wanted, output=root / "whole", state=root / "other"))
    with pytest.raises(KeyboardInterrupt):
        train(shards, replace(wanted, on_step=stop))
    return root


def go_on(cut: Path, state: Path, root: Path) -> tuple[int, bool]:
    """First step of a training that goes on from ``state``; whether weights and curve are as they should be."""
    steps: list[int] = []
    wanted = replace(
        spec(cut, save_every=100, batch_size=2),
        state=state,
        output=root / "out",
        on_step=lambda p: steps.append(p.step),
    )
    train(sorted((cut / "rows").iterdir()), wanted, resume=True)
    ours, theirs = (load_file(path / "model.safetensors") for path in (root / "out", cut / "whole"))
    curves = [
        pl.read_parquet(path / "losses.parquet").select(COLUMNS) for path in (root / "out", cut / "whole")
    ]
    return steps[0], all(ours[n].equal(theirs[n]) for n in theirs) and curves[0].equals(curves[1])


def test_an_altered_state_is_not_trained_on(
    cut: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("good", "bad"):
        shutil.copytree(cut / "state", tmp_path / name)
    assert go_on(cut, tmp_path / "good", tmp_path / "a") == (4, True)
    assert not caplog.records
    file = tmp_path / "bad" / "state.safetensors"
    file.write_bytes(damaged(file.read_bytes(), "flip", 0.7, 64))
    assert go_on(cut, tmp_path / "bad", tmp_path / "b") == (1, True)
    assert "state.safetensors can't be read (it was altered: its checksum" in caplog.text


@pytest.mark.parametrize("how", ["remove", "line", "digit", "name", "number"])
def test_a_damaged_curve_is_named(cut: Path, tmp_path: Path, how: str) -> None:
    file = tmp_path / "state" / "losses.jsonl"
    shutil.copytree(cut / "state", file.parent)
    lines = file.read_text().splitlines(keepends=True)
    loss = lines[0].index('"loss":') + len('"loss":')
    other = "8" if lines[0][loss] == "9" else "9"
    lines[0] = {
        "remove": "",
        "line": "",
        "digit": lines[0][:loss] + other + lines[0][loss + 1 :],
        "name": lines[0].replace('"loss"', '"lose"'),
        "number": lines[0].replace('"step":1', '"step":2'),
    }[how]
    file.write_text("".join(lines))
    if how == "remove":
        file.unlink()
    with pytest.raises(StoreError, match=rf"{file}.*remove"):
        go_on(cut, file.parent, tmp_path)


class Weights(torch.nn.Module):
    """Two matrices and AdamW, after one step."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first = torch.nn.Linear(4, 4, bias=False)
        self.second = torch.nn.Linear(4, 4, bias=False)
        self.optimizer = torch.optim.AdamW(self.parameters())
        sum(p.square().sum() for p in self.parameters()).backward()
        self.optimizer.step()

    def all(self) -> list[torch.Tensor]:
        moments = [state[kind] for state in self.optimizer.state.values() for kind in sorted(state)]
        return [value.detach().clone() for value in (*self.parameters(), *moments)]


def saved(directory: Path) -> tuple[Weights, Position, Path]:
    """A model whose state is saved in a file, and how far it was."""
    model, position = Weights(), Position(step=12, tokens=3456, seconds=7.5)
    save_state(directory, "key", position, model, [model.optimizer])
    return model, position, directory / "state.safetensors"


def test_every_byte_of_a_state_counts(tmp_path: Path) -> None:
    """Also those of names, types and shapes of tensors, of the position and of the checksum."""
    model, position, path = saved(tmp_path)
    whole, before, chance = path.read_bytes(), model.all(), random.Random(0)
    passed_over = 0
    with path.open("r+b", buffering=0) as file:
        for place, byte in enumerate(whole):
            os.pwrite(file.fileno(), bytes([byte ^ chance.randrange(1, 256)]), place)
            found = load_state(tmp_path, "key", model, [model.optimizer])
            os.pwrite(file.fileno(), bytes([byte]), place)
            passed_over += found is None
            assert found in (None, position), place
            assert all(a.equal(b) for a, b in zip(model.all(), before, strict=True)), place
    assert passed_over > len(whole) - 8  # what is left: white space and the name of the checksum


@fuzz(examples=40)
@given(
    how=st.sampled_from(["cut", "zeros", "twice"]),
    place=st.floats(0, 1, exclude_max=True),
)
def test_any_damage_to_a_state_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, how: str, place: float
) -> None:
    directory = tmp_path_factory.mktemp("state")
    model, position, file = saved(directory)
    file.write_bytes(damaged(file.read_bytes(), how, place, 1))
    before = model.all()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    found = load_state(directory, "key", model, [model.optimizer])
    if found is not None:  # white space, or zeros that were there
        assert found == position
        assert all(a.equal(b) for a, b in zip(model.all(), before, strict=True))
    shutil.rmtree(directory)
