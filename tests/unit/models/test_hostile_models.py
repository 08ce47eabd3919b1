"""A model directory made to hurt: its template is sandboxed, and each broken file is one clear error."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.trainer_run import make_rows, spec, write_shards
from transformers import dynamic_module_utils

from dasd.base.records import Message
from dasd.errors import InputError
from dasd.models.files import check_model, resolve_model
from dasd.models.tokens.chat import ChatTokenizer
from dasd.models.transformers.builtin import TransformersOptions
from dasd.models.transformers.loading import load_model
from dasd.recipe.model_settings import ModelSettings
from dasd.training.model import open_model
from dasd.training.preflight import preflight
from dasd.training.start import start_model


def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(resolve_model("dasd:mini-student"), tmp_path / "model"))


def changed(model: Path, **keys: object) -> None:
    config = json.loads(Path(resolve_model("dasd:mini-student"), "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | keys))


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__ }}",
        "{% for i in range(10**9) %}{% endfor %}",
        "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
        "{{ 1 / 0 }}",
        "{{ messages + 1 }}",
    ],
)
def test_a_hostile_chat_template_is_refused(template: str, tmp_path: Path) -> None:
    model = copied(tmp_path)
    (model / "chat_template.jinja").write_text(template)
    with pytest.raises(InputError, match="its chat template refuses"):
        ChatTokenizer.load(ModelSettings(model=str(model))).prompt_ids([Message("user", "hi")])


@pytest.mark.parametrize("content", ["[1]", "[" * 100_000, "{}", '{"model": 3, "added_tokens": []}'])
def test_a_broken_tokenizer_is_refused(content: str, tmp_path: Path) -> None:
    model = copied(tmp_path)
    (model / "tokenizer.json").write_text(content)
    with pytest.raises(InputError, match="its tokenizer can't be loaded"):
        ChatTokenizer.load(ModelSettings(model=str(model)))


def test_code_of_a_model_directory_is_not_run_unless_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = copied(tmp_path)
    config = json.loads((model / "tokenizer_config.json").read_text())
    config |= {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": [None, "evil.Evil"]}}
    (model / "tokenizer_config.json").write_text(json.dumps(config))
    ran = tmp_path / "ran"
    (model / "evil.py").write_text(f"from pathlib import Path\nPath({str(ran)!r}).touch()\n")
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    try:
        ChatTokenizer.load(ModelSettings(model=str(model)))
    except InputError as error:
        assert "trust_remote_code" in str(error)
    assert not ran.exists()
    with pytest.raises(InputError):
        ChatTokenizer.load(ModelSettings(model=str(model), trust_remote_code=True))
    assert ran.exists()


def test_sizes_that_are_not_those_of_the_tensors_are_refused(tmp_path: Path) -> None:
    model = copied(tmp_path)
    settings = ModelSettings(model=str(model))
    for key, value in (
        ("hidden_size", 10**9),
        ("num_hidden_layers", 10**9),
        ("vocab_size", 10**12),
        ("vocab_size", 368),
        ("intermediate_size", 10**9),
        ("num_attention_heads", 0),
        ("num_attention_heads", -4),
        ("num_key_value_heads", [4, 10**9]),
        ("head_dim", "16"),
        ("num_hidden_layers", True),
    ):
        changed(model, **{key: value})
        with pytest.raises(InputError, match=f"model/config.json: {key}"):
            check_model(settings)
    changed(model, text_config={"hidden_size": 10**9})
    for load in (lambda: load_model(settings, TransformersOptions()), lambda: start_model(settings)):
        with pytest.raises(InputError, match="model/config.json: hidden_size is 1000000000"):
            load()
    changed(model, quantization_config={}, num_key_value_heads=None, vocab_size=368)
    check_model(settings)


def header(length: int, content: object, data: int = 0) -> bytes:
    text = json.dumps(content).encode()
    return (length or len(text)).to_bytes(8, "little") + text + bytes(data)


def test_safetensors_headers_that_lie_are_refused(tmp_path: Path) -> None:
    model = copied(tmp_path)
    one = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    for content in (
        b"torn",
        header(2**63, {}),
        header(200 * 2**20, {}),
        header(10**6, {"a": one}, 8),
        b"\x04" + bytes(7) + b"[[[[",
        header(0, [1]),
        header(0, {"a": one}),
        header(0, {"a": one, "b": one}, 8),
        header(0, {"a": one | {"data_offsets": [8, 0]}}, 8),
        header(0, {"a": one | {"shape": [2**62, 2**62]}}, 8),
        header(0, {"a": one | {"dtype": "F1000"}}, 8),
    ):
        (model / "model.safetensors").write_bytes(content)
        with pytest.raises(InputError, match="model.safetensors can't be read as safetensors"):
            check_model(ModelSettings(model=str(model)))
    for index in ("[" * 100_000, '{"weight_map": {"a": 3}}'):
        (model / "model.safetensors.index.json").write_text(index)
        with pytest.raises(InputError, match="index.json is damaged"):
            check_model(ModelSettings(model=str(model)))


def test_what_loading_raises_is_one_error_for_backend_and_trainer(tmp_path: Path) -> None:
    model = copied(tmp_path)
    settings, training = ModelSettings(model=str(model)), spec(tmp_path)
    config = json.loads((model / "config.json").read_text())
    evil = {"auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}, "model_type": "evil"}
    (model / "evil.py").write_text("raise SystemExit('the code of a model directory ran')\n")
    for keys, words in (
        ({"hidden_act": "evil"}, "can't be loaded: .*evil"),  # KeyError
        (evil, "code that came with it; .* set trust_remote_code: true"),
    ):
        (model / "config.json").write_text(json.dumps(config | keys))
        loads: tuple[Callable[[], object], ...] = (
            lambda: load_model(settings, TransformersOptions()),
            lambda: open_model(training, torch.float32),
        )
        for load in loads:
            with pytest.raises(InputError, match=words) as refused:
                load()
            assert re.match(f"(model )?{re.escape(str(model))}", str(refused.value))
    shards = write_shards(tmp_path, make_rows(2))
    with pytest.raises(InputError, match="set trust_remote_code: true"):
        preflight(shards, training)
    (model / "config.json").write_text(json.dumps(config))
    (model / "generation_config.json").write_text("[1]")
    with pytest.raises(InputError, match="its tokenizer and generation_config.json can't be loaded"):
        preflight(shards, training)
