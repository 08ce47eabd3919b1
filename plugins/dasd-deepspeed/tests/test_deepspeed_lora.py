"""LoRA over processes that divide everything: the built-in trainer's losses, adapter and checkpoint, resumed too."""

from __future__ import annotations

import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from deepspeed_training import settings, shards, spec

from dasd.api import TrainProgress

pytestmark = pytest.mark.skipif(
    find_spec("deepspeed") is None or find_spec("peft") is None,
    reason="DeepSpeed or peft is not installed in this environment",
)

LORA: dict[str, Any] = {"adapter": "lora", "lora": {"rank": 4}, "learning_rate": 1e-2, "max_steps": 4}
MERGED, ADAPTER = "out/model.safetensors", "out/adapter/adapter_model.safetensors"


def test_divided_in_three_ways_resumed_merged_and_as_the_built_in_trainer_has_it(tmp_path: Path) -> None:
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file

    from dasd.training.torch.trainer import TorchTrainer
    from dasd_deepspeed.trainer import DeepSpeedTrainer

    torch.set_num_threads(1)
    reference: list[TrainProgress] = []
    wanted = spec(tmp_path, "torch", on_step=reference.append, options={}, **LORA)
    TorchTrainer(wanted.settings).train(shards(tmp_path), wanted, resume=False)

    whole: list[TrainProgress] = []
    wanted = spec(tmp_path, "divided", on_step=whole.append, **LORA)
    assert wanted.settings.options["zero_stage"] == 3
    trainer = DeepSpeedTrainer(settings(**LORA))
    trainer.train(shards(tmp_path), wanted, resume=False)
    assert [s.loss for s in whole] == pytest.approx([s.loss for s in reference], rel=1e-5)
    assert [s.grad_norm for s in whole] == pytest.approx([s.grad_norm for s in reference], rel=1e-4)
    for name in (MERGED, ADAPTER):
        mine, other = (load_file(tmp_path / place / name) for place in ("divided", "torch"))
        assert mine.keys() == other.keys()
        # AdamW makes steps of one size of gradients that are nearly nothing.
        assert all(torch.allclose(mine[key], other[key], atol=1e-3) for key in other)

    state = wanted.state
    with safe_open(state / "state-00000002" / "rank-0.safetensors", framework="pt") as file:
        assert all(".lora_" in name for name in file.keys())  # noqa: SIM118 (no mapping)
    shutil.rmtree(state / "state-00000004")
    rest: list[TrainProgress] = []
    again = replace(wanted, output=tmp_path / "again" / "out", on_step=rest.append)
    trainer.train(shards(tmp_path), again, resume=True)
    assert [(s.step, s.loss) for s in rest] == [(s.step, s.loss) for s in whole[2:]]
    for name in (MERGED, ADAPTER):
        mine, other = (load_file(tmp_path / place / name) for place in ("again", "divided"))
        assert all(torch.equal(mine[key], other[key]) for key in other)
