"""A model directory made to hurt: its template is sandboxed, and each broken file is one clear error."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from transformers import dynamic_module_utils

from dasd.chat import ChatTokenizer
from dasd.errors import InputError
from dasd.models import resolve_model
from dasd.records import Message
from dasd.settings import ModelSettings


def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(resolve_model("dasd:mini-student"), tmp_path / "m"))


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
