"""Model references, refusals of unusable directories, content fingerprints."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from tests.tiny_models import byte_level, save_llama
from transformers import GPT2Config, LlamaConfig, MambaConfig

from dasd.errors import InputError
from dasd.models.files import check_model, context_length, model_fingerprint, model_identity, resolve_model
from dasd.recipe.model_settings import ModelSettings


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    save_llama(tmp_path / "model", byte_level())
    return tmp_path / "model"


def of(path: Path | str) -> ModelSettings:
    return ModelSettings(model=str(path))


def test_resolve(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_model(str(directory)) == str(directory)
    monkeypatch.chdir(directory.parent)
    assert resolve_model("model") == str(directory)
    assert Path(resolve_model("dasd:mini-teacher")).name == "teacher"
    assert resolve_model("owner/name-1.5B") == "owner/name-1.5B"


@pytest.mark.parametrize("ref", ["./missing", "/no/such/dir", "a/b/c", "~/nothing here"])
def test_missing_directory(ref: str) -> None:
    with pytest.raises(InputError, match="no such directory"):
        resolve_model(ref)


def test_unknown_bundled_model() -> None:
    with pytest.raises(InputError, match="dasd:mini-student, dasd:mini-teacher"):
        resolve_model("dasd:mini-teach")


def test_a_file_is_no_model(directory: Path) -> None:
    with pytest.raises(InputError, match="wanted a directory, got a file"):
        resolve_model(str(directory / "config.json"))


def test_whole_directory_and_named_model_pass(directory: Path) -> None:
    check_model(of(directory))
    check_model(of("owner/name"))


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        ("config.json", "no config.json"),
        ("tokenizer.json", "no tokenizer"),
        ("model.safetensors", "no weights"),
    ],
)
def test_missing_parts(directory: Path, remove: str, message: str) -> None:
    (directory / remove).unlink()
    with pytest.raises(InputError, match=message):
        check_model(of(directory))


def test_pickle_weights_only(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pickle weights only.*safetensors"):
        check_model(of(directory))


def test_missing_shard(directory: Path) -> None:
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    (directory / "model.safetensors").rename(directory / "model-00001-of-00002.safetensors")
    with pytest.raises(InputError, match=r"1 of its 2 shards, e.g. model-00002"):
        check_model(of(directory))
    (directory / "model.safetensors.index.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        check_model(of(directory))


def test_fingerprint_is_the_content(directory: Path, tmp_path: Path) -> None:
    first = model_fingerprint(of(directory))
    shutil.copytree(directory, tmp_path / "elsewhere")
    assert model_fingerprint(of(tmp_path / "elsewhere")) == first
    (directory / "notes.txt").write_text("not part of the model")
    assert model_fingerprint(of(directory)) == first


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "model.safetensors", "chat_template.jinja"]
)
def test_fingerprint_changes_with_any_byte(directory: Path, name: str) -> None:
    first = model_fingerprint(of(directory))
    file = directory / name
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    stat = file.stat()
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert model_fingerprint(of(directory)) != first


def test_fingerprint_of_a_named_model() -> None:
    settings = ModelSettings(model="owner/name", revision="abc")
    assert model_fingerprint(settings) == {"name": "owner/name", "revision": "abc"}


def test_identity_is_a_directorys_content_or_a_name(directory: Path, tmp_path: Path) -> None:
    first = model_identity(of(directory))
    directory.rename(tmp_path / "elsewhere")
    assert model_identity(of(tmp_path / "elsewhere")) == first
    (tmp_path / "elsewhere" / "config.json").write_text("{}")
    assert model_identity(of(tmp_path / "elsewhere")) != first
    for name in ("owner/name", "dasd:mini-teacher"):
        assert model_identity(of(name)) == name


def test_context_length() -> None:
    assert context_length(LlamaConfig(max_position_embeddings=512)) == 512
    assert context_length(GPT2Config(n_positions=77)) == 77
    with pytest.raises(InputError, match="mamba declares no context length"):
        context_length(MambaConfig())
