"""LoRA in the torch trainer: what is trained, saved, merged, refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tests.trainer_run import make_model, make_rows, settings, spec, train, write_shards

from dasd.api import RecipeError, TrainProgress
from dasd.training.plan import plan_training

pytest.importorskip("peft")
# peft 0.21 asks transformers for a property by its old name when it loads an adapter.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

LORA: dict[str, Any] = {"adapter": "lora", "lora": {"rank": 4, "alpha": 16}}
IDS = torch.tensor([[3, 9, 27, 5, 11, 30, 4, 8]])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_model(tmp_path / "model")
    return tmp_path


@pytest.fixture
def shards(root: Path) -> list[Path]:
    return write_shards(root / "rows", make_rows(20))


def opened(directory: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(directory)


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    result: torch.Tensor = model.eval()(IDS).logits.float()
    return result


def adapted(start: Path, output: Path) -> Any:
    from peft import PeftModel

    return PeftModel.from_pretrained(opened(start), output / "adapter")


def same(one: Path, other: Path) -> bool:
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_merged_checkpoint_says_what_the_adapter_says(root: Path, shards: list[Path]) -> None:
    steps: list[TrainProgress] = []
    result = train(shards, spec(root, on_step=steps.append, **LORA))
    assert result.last_loss < result.first_loss - 0.1
    start, merged = opened(root / "model"), opened(result.path)
    assert (logits(merged) - logits(start)).abs().max() > 0.1
    assert torch.allclose(logits(merged), logits(adapted(root / "model", result.path)), atol=1e-4)
    config = json.loads((result.path / "adapter" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["peft_type"]) == (4, 16, "LORA")
    assert config["target_modules"] == [
        "down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj",
    ]  # fmt: skip
    # Whatever has no adapter is as it was.
    before, after = (
        load_file(root / "model" / "model.safetensors"),
        load_file(result.path / "model.safetensors"),
    )
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.endswith("_proj.weight")}
    assert sorted(p.name for p in (result.path / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_stored_in_bf16_it_is_merged_in_float32_and_rounded_once(root: Path, shards: list[Path]) -> None:
    opened(root / "model").to(torch.bfloat16).save_pretrained(root / "model")
    result = train(shards, spec(root, precision="bf16", **LORA))
    after = load_file(result.path / "model.safetensors")
    assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16}
    before = load_file(root / "model" / "model.safetensors")
    matrices = load_file(result.path / "adapter" / "adapter_model.safetensors")
    name = "model.layers.1.mlp.up_proj"
    first, second = (matrices[f"base_model.model.{name}.lora_{side}.weight"] for side in "AB")
    assert {first.dtype, second.dtype} == {torch.float32}
    whole = before[f"{name}.weight"].float() + 4.0 * second @ first
    assert torch.equal(after[f"{name}.weight"], whole.to(torch.bfloat16))
    # A weight is off by at most 2^-9 of itself, as in every checkpoint in bf16: a few percent of what training moved.
    merged = logits(opened(result.path).float())
    beside = logits(adapted(root / "model", result.path).float())
    moved = (beside - logits(opened(root / "model").float())).abs().max()
    assert (merged - beside).abs().max() < 0.05 * moved


def test_frozen_weights_held_in_bf16_change_no_loss(
    root: Path, shards: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dasd.training import model

    opened(root / "model").to(torch.bfloat16).save_pretrained(root / "model")
    curves = []
    held: list[Any] = []
    for narrow in (model.narrow_frozen, held.append):
        monkeypatch.setattr(model, "narrow_frozen", narrow)
        steps: list[TrainProgress] = []
        train(shards, spec(root, on_step=steps.append, precision="bf16", **LORA))
        curves.append([(step.loss, step.grad_norm) for step in steps])
    assert len(held) == 1
    assert curves[0] == curves[1]


def test_cut_off_and_resumed_is_as_never_cut_off(root: Path, shards: list[Path]) -> None:
    whole: list[TrainProgress] = []
    changes = LORA | {"lora": {"rank": 4, "dropout": 0.2}, "save_every": 100}
    first = spec(root, on_step=whole.append, **changes)
    train(shards, first)

    def stop(progress: TrainProgress) -> None:
        if progress.step == 4:
            raise KeyboardInterrupt

    cut = replace(first, output=root / "cut", state=root / "cutstate", on_step=stop)
    with pytest.raises(KeyboardInterrupt):
        train(shards, cut)
    with safe_open(root / "cutstate" / "state.safetensors", framework="pt") as state:
        names = list(state.keys())
    assert names and all(".lora_" in name for name in names)  # nothing of the frozen weights
    rest: list[TrainProgress] = []
    train(shards, replace(cut, on_step=rest.append), resume=True)
    assert [(p.step, p.loss, p.grad_norm) for p in rest] == [(p.step, p.loss, p.grad_norm) for p in whole[4:]]
    for file in ("model.safetensors", "adapter/adapter_model.safetensors"):
        assert same(first.output / file, cut.output / file)


def test_packed_checkpointed_and_chunked_give_the_same_curve(root: Path, shards: list[Path]) -> None:
    lengths = pl.read_parquet(shards)["token_ids"].list.len().cast(pl.Int64).to_numpy()
    packs = plan_training(lengths, settings(epochs=1), seed=7).packs
    assert packs < 20
    curves = []
    for changes in (
        {"packing": False, "batch_size": 20},  # a step is an epoch, in all of them
        {"batch_size": packs},
        {"batch_size": packs, "gradient_checkpointing": True},
        {"batch_size": packs, "options": {"loss_logits": 100}},
    ):
        steps: list[TrainProgress] = []
        train(shards, spec(root, on_step=steps.append, epochs=3, **LORA, **changes))
        curves.append([step.loss for step in steps])
    assert len(curves[0]) == 3
    for curve in curves[1:]:
        assert curve == pytest.approx(curves[0], abs=1e-4)


def test_tied_embeddings_stay_tied(tmp_path: Path) -> None:
    make_model(tmp_path / "model", tie_word_embeddings=True)
    shards = write_shards(tmp_path / "rows", make_rows(8))
    result = train(shards, spec(tmp_path, epochs=1, **LORA))
    merged, start = opened(result.path), opened(tmp_path / "model")
    assert merged.lm_head.weight is merged.model.embed_tokens.weight
    assert torch.equal(merged.lm_head.weight, start.lm_head.weight)
    assert torch.allclose(logits(merged), logits(adapted(tmp_path / "model", result.path)), atol=1e-4)
    with pytest.raises(RecipeError, match=r"trainer\.lora\.targets: lm_head is tied to the embeddings"):
        train(shards, spec(tmp_path, adapter="lora", lora={"targets": ["lm_head"]}))


def test_named_targets_alone_are_trained_the_head_too(root: Path, shards: list[Path]) -> None:
    result = train(
        shards, spec(root, max_steps=2, adapter="lora", lora={"targets": ["layers.1.mlp.up_proj", "lm_head"]})
    )
    matrices = load_file(result.path / "adapter" / "adapter_model.safetensors")
    assert {name.partition(".lora_")[0] for name in matrices} == {
        "base_model.model.model.layers.1.mlp.up_proj",
        "base_model.model.lm_head",
    }
    merged = opened(result.path)
    assert torch.allclose(logits(merged), logits(adapted(root / "model", result.path)), atol=1e-4)
    assert not torch.equal(merged.lm_head.weight, opened(root / "model").lm_head.weight)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (
            "q_prj",
            r"'q_prj' matches no module of LlamaForCausalLM; did you mean 'q_proj'\? .*: q_proj, k_proj,",
        ),
        ("embed_tokens", r"'embed_tokens' is Embedding, which is no linear layer"),
        ("proj", r"'proj' matches no module"),
    ],
)
def test_targets_that_match_nothing_are_refused(
    root: Path, shards: list[Path], target: str, words: str
) -> None:
    with pytest.raises(RecipeError, match=rf"^trainer\.lora\.targets: {words}"):
        train(shards, spec(root, adapter="lora", lora={"targets": ["k_proj", target]}))
    assert not (root / "out").exists()


def test_the_next_training_starts_from_the_merged_checkpoint(root: Path, shards: list[Path]) -> None:
    first = spec(root, max_steps=3, **LORA)
    train(shards, first)
    second = replace(first, model=first.output, output=root / "second", state=root / "state2", seed=8)
    train(shards, second)
    config = json.loads((second.output / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(first.output)
    assert torch.allclose(
        logits(opened(second.output)), logits(adapted(first.output, second.output)), atol=1e-4
    )
    assert pl.read_parquet(second.output / "losses.parquet")["step"].to_list() == [1, 2, 3]
