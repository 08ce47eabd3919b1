"""Where a training starts: a directory as it is, a named model at the revision that the recipe names."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from tests.stage_run import run_recipe
from tests.trainer_run import make_model, make_rows, spec, train, write_shards

from dasd.errors import InputError
from dasd.models.miniature import model_path
from dasd.recipe.model_settings import ModelSettings
from dasd.training.preflight import preflight
from dasd.training.start import StartModel, start_model

MAIN, OLD = "a" * 40, "b" * 40


def fill_cache(cache: Path, model: Path) -> None:
    """The hub's cache of ``owner/student`` with two commits; the older one's first weight is 1 higher."""
    home = cache / "models--owner--student"
    for commit, refs in ((MAIN, ["main"]), (OLD, ["v1"])):
        shutil.copytree(model, home / "snapshots" / commit)
        for ref in refs:
            (home / "refs").mkdir(exist_ok=True)
            (home / "refs" / ref).write_text(commit)
    path = home / "snapshots" / OLD / "model.safetensors"
    weights = load_file(path)
    weights[min(weights)] += 1
    save_file(weights, path, {"format": "pt"})


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def test_a_directory_is_taken_as_it_is_whatever_the_revision(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model")
    for revision in (None, "v1"):
        found = start_model(ModelSettings(model=str(model), revision=revision))
        assert found == StartModel(model, None)


@pytest.mark.parametrize(("revision", "commit"), [(None, MAIN), ("main", MAIN), ("v1", OLD), (OLD, OLD)])
def test_a_named_model_is_the_snapshot_of_its_revision(
    cache: Path, tmp_path: Path, revision: str | None, commit: str
) -> None:
    fill_cache(cache, make_model(tmp_path / "model"))
    found = start_model(ModelSettings(model="owner/student", revision=revision))
    assert found.revision == commit
    assert found.directory == (cache / "models--owner--student" / "snapshots" / commit).resolve()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"revision": "v9"}, "owner/student: revision v9 can't be fetched"),
        ({"model": "owner/nobody"}, "owner/nobody: revision main can't be fetched"),
    ],
)
def test_what_is_not_there_is_named(cache: Path, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    fill_cache(cache, make_model(tmp_path / "model"))
    with pytest.raises(InputError, match=words):
        start_model(ModelSettings.model_validate({"model": "owner/student"} | changes))


def test_a_snapshot_without_weights_is_refused(cache: Path, tmp_path: Path) -> None:
    fill_cache(cache, make_model(tmp_path / "model"))
    (cache / "models--owner--student" / "snapshots" / MAIN / "model.safetensors").unlink()
    with pytest.raises(InputError, match="no weights"):
        start_model(ModelSettings(model="owner/student"))


def test_preflight_and_trainer_use_the_revision(cache: Path, tmp_path: Path) -> None:
    """A step with a learning rate of nearly nothing leaves the weights where they started."""
    from dataclasses import replace

    fill_cache(cache, make_model(tmp_path / "model"))
    shards = write_shards(tmp_path / "rows", make_rows(4))
    start = start_model(ModelSettings(model="owner/student", revision="v1"))
    wanted = replace(
        spec(tmp_path, max_steps=1, learning_rate=1e-30, min_learning_rate=0), model=start.directory
    )
    assert preflight(shards, wanted).rows == 4
    output = train(shards, wanted).path
    got, began = (load_file(place / "model.safetensors") for place in (output, start.directory))
    assert all(torch.equal(got[name], began[name]) for name in began)
    assert (output / "tokenizer.json").read_bytes() == (start.directory / "tokenizer.json").read_bytes()


def test_stage_train_starts_from_the_revision_and_records_it(cache: Path, tmp_path: Path) -> None:
    fill_cache(cache, model_path("student"))
    student = {"model": "owner/student", "revision": "v1"}
    run = run_recipe(tmp_path / "run", until="train-high", student=student)
    assert run.summary("train-low")["start_revision"] == OLD
    assert "start_revision" not in run.summary("train-high")  # it starts from train-low's checkpoint
    snapshot = cache / "models--owner--student" / "snapshots" / OLD
    for number in (1, 2):  # the scripted trainer copies what it is given
        copied = next((tmp_path / "run").rglob(f"stage{number}/model.safetensors"))
        assert copied.read_bytes() == (snapshot / "model.safetensors").read_bytes()
