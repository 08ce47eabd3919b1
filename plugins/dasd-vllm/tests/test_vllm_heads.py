"""Padded heads compute what the model computed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from dasd.api import InputError
from dasd_vllm.heads import runnable


def saved(path: Path, **changes: object) -> LlamaForCausalLM:
    torch.manual_seed(0)
    shape = {
        "vocab_size": 50,
        "hidden_size": 48,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "attention_bias": True,
        "initializer_range": 0.5,
    }
    model = LlamaForCausalLM(LlamaConfig(**{**shape, **changes})).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.5)
    model.save_pretrained(path)
    return model


@pytest.mark.parametrize(("head_dim", "sizes"), [(16, [32, 64]), (8, [32, 64]), (24, [32, 96])])
def test_the_padded_model_gives_the_same_logits(tmp_path: Path, head_dim: int, sizes: list[int]) -> None:
    model = saved(tmp_path, head_dim=head_dim)
    ids = torch.randint(0, 50, (3, 40), generator=torch.Generator().manual_seed(1))
    with runnable(str(tmp_path), sizes) as path, torch.inference_mode():
        padded = LlamaForCausalLM.from_pretrained(path).eval()
        assert padded.config.head_dim in sizes
        logits, wanted = padded(ids).logits, model(ids).logits
    assert wanted.std() > 0.5
    assert torch.allclose(logits, wanted, atol=2e-4, rtol=1e-4)
    assert not Path(path).exists()


def test_a_size_that_the_kernels_have_is_left_alone(tmp_path: Path) -> None:
    saved(tmp_path)
    with runnable(str(tmp_path), [16, 32]) as path:
        assert path == str(tmp_path)


@pytest.mark.parametrize(
    "change",
    [{"model_type": "qwen3"}, {"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, {"head_dim": 48}],
)
def test_what_cannot_be_padded_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    saved(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(InputError, match="heads of 32, 64 alone"), runnable(str(tmp_path), [32, 64]):
        pass
