"""What is chosen for a GPU, as far as a machine without one can hold it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.trainer_run import VOCABULARY, make_model, make_rows, spec, write_shards
from torch.nn.functional import scaled_dot_product_attention

from dasd.models.devices import any_length_attention
from dasd.training import attention
from dasd.training.attention import NAME, order_restored, repeatable
from dasd.training.batches import collate
from dasd.training.checks import try_model
from dasd.training.loaded_rows import TrainRows, load_rows
from dasd.training.loss import usual_loss_logits, weighted_nll
from dasd.training.model import load_model

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def rows(tmp_path: Path) -> TrainRows:
    make_model(tmp_path / "model")
    return load_rows(write_shards(tmp_path / "rows", make_rows(6)), tmp_path / "state")


def planned_kernels() -> bool:
    return bool(torch.backends.cuda.cudnn_sdp_enabled())  # type: ignore[no-untyped-call]


def test_kernels_that_plan_for_every_shape_are_off_on_a_gpu_alone() -> None:
    assert planned_kernels()
    with any_length_attention(CPU):
        assert planned_kernels()
    with pytest.raises(ZeroDivisionError), any_length_attention(GPU):
        assert not planned_kernels()
        raise ZeroDivisionError
    assert planned_kernels()


@pytest.mark.parametrize("unordered", [True, False])
def test_the_way_back_through_unordered_attention_is_made_ordered(
    monkeypatch: pytest.MonkeyPatch, unordered: bool
) -> None:
    if unordered:  # the CPU's kernel stands in for a GPU's
        monkeypatch.setattr(attention, "_UNORDERED", ("ScaledDotProductFlashAttentionForCpuBackward",))
    query = torch.randn(1, 2, 8, 16, requires_grad=True)
    out = repeatable(scaled_dot_product_attention(query, query, query, is_causal=True))
    seen: list[bool] = []
    node: Any = out.grad_fn
    node.register_prehook(lambda _: seen.append(torch.are_deterministic_algorithms_enabled()))
    out.sum().backward()  # type: ignore[no-untyped-call]
    assert seen == [unordered]
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_way_back_that_breaks_off_leaves_torch_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_UNORDERED", ("ScaledDotProductFlashAttentionForCpuBackward",))
    query = torch.randn(1, 2, 8, 16, requires_grad=True)
    out = repeatable(scaled_dot_product_attention(query, query, query, is_causal=True))

    def full(_: Any) -> None:
        raise torch.OutOfMemoryError

    node: Any = out.grad_fn
    node.register_prehook(full)
    with pytest.raises(torch.OutOfMemoryError), order_restored():
        out.sum().backward()  # type: ignore[no-untyped-call]
    assert not torch.are_deterministic_algorithms_enabled()


def test_attention_without_gradients_needs_no_order() -> None:
    query = torch.randn(1, 2, 8, 16)
    assert repeatable(query) is query


def test_a_gpu_holds_more_logits_at_once() -> None:
    assert usual_loss_logits(GPU) == 8 * usual_loss_logits(CPU)


@pytest.mark.parametrize("chunks", [1, 2, 5])
def test_the_last_chunk_of_logits_is_not_made_again(tmp_path: Path, rows: TrainRows, chunks: int) -> None:
    model, _ = load_model(spec(tmp_path), NAME, CPU)
    batch = collate(rows, range(len(rows)), CPU)
    size = -(-len(batch.targets) // chunks)
    made: list[int] = []
    model.get_output_embeddings().register_forward_hook(lambda *given: made.append(len(given[2])))
    loss = weighted_nll(model, batch, attention=NAME, plain_head=True, loss_logits=VOCABULARY * size)
    assert len(made) == chunks
    loss.backward()  # type: ignore[no-untyped-call]
    assert len(made) == 2 * chunks - 1
    assert sum(made[:chunks]) == len(batch.targets)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_model_is_tried_in_the_precision_of_its_training(
    tmp_path: Path, rows: TrainRows, precision: str
) -> None:
    """flash-attn computes in half precision alone: a trial in float32 would refuse it."""
    model, _ = load_model(spec(tmp_path), NAME, CPU)
    autocast: set[bool] = set()
    model.base_model.register_forward_pre_hook(lambda *_: autocast.add(torch.is_autocast_enabled("cpu")))
    assert try_model(model, rows, NAME, precision) is True
    assert autocast == {precision == "bf16"}


def test_a_head_of_its_own_is_noticed_in_bf16_too(tmp_path: Path, rows: TrainRows) -> None:
    make_model(tmp_path / "model", architecture="granite", logits_scaling=4.0)
    model, _ = load_model(spec(tmp_path), NAME, CPU)
    assert try_model(model, rows, NAME, "bf16") is False
