"""Rows, packs and attention: packed training is exactly unpacked training."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.trainer_run import VOCABULARY, make_model, make_rows, settings, spec, write_shards

from dasd.api import TrainingError
from dasd.training.attention import NAME, Segments
from dasd.training.batches import Batch, collate
from dasd.training.checks import try_model
from dasd.training.loaded_rows import TrainRows, load_rows
from dasd.training.loss import weighted_nll
from dasd.training.model import load_model
from dasd.training.plan import plan_training

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("packs")
    make_model(place / "model")
    return place


@pytest.fixture(scope="module")
def rows(root: Path) -> TrainRows:
    # Lengths from 4 to 180: several groups of segments attention.
    frame = pl.concat([make_rows(5, low=6, high=30), make_rows(4, seed=1, low=130, high=180)])
    return load_rows(write_shards(root / "rows", frame), root / "state")


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def step(
    model: Any, batches: list[Batch], attention: str, **options: Any
) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients over ``batches``, in nats a unit of weight."""
    model.zero_grad()
    weight = sum(float(batch.weights.sum()) for batch in batches)
    chosen = {"plain_head": True, "loss_logits": 2**25} | options
    total = 0.0
    for batch in batches:
        loss = weighted_nll(model, batch, attention=attention, **chosen) / weight
        loss.backward()
        total += loss.item()
    return total, gradients(model)


def reference(model: Any, rows: TrainRows) -> tuple[float, dict[str, torch.Tensor]]:
    """Every row alone through the plain model with labels: no code of the trainer."""
    model.zero_grad()
    total, weight = torch.zeros(()), 0.0
    for row in range(len(rows)):
        ids = torch.from_numpy(rows.tokens(row).astype(np.int64))[None]
        trained = torch.from_numpy(rows.mask(row))
        logprobs = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
        nll = -logprobs.gather(1, ids[0, 1:, None])[:, 0]
        total = total + float(rows.weights_N[row]) * nll[trained[1:]].sum()
        weight += float(rows.weights_N[row]) * int(trained.sum())
    (total / weight).backward()
    return total.item() / weight, gradients(model)


def assert_same(
    got: tuple[float, dict[str, torch.Tensor]], wanted: tuple[float, dict[str, torch.Tensor]]
) -> None:
    assert got[0] == pytest.approx(wanted[0], abs=1e-5)
    assert got[1].keys() == wanted[1].keys()
    for name, gradient in wanted[1].items():
        torch.testing.assert_close(
            got[1][name], gradient, atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("attention", [NAME, "sdpa", "eager"])
def test_packed_loss_and_gradients_are_those_of_each_row_alone(
    root: Path, rows: TrainRows, attention: str
) -> None:
    plain, _ = load_model(spec(root), "eager", CPU)
    model, _ = load_model(spec(root), attention, CPU)
    packed = [collate(rows, range(len(rows)), CPU)]
    assert_same(step(model, packed, attention), reference(plain, rows))


def test_lengths_given_to_varlen_attention_are_those_of_the_rows(root: Path, rows: TrainRows) -> None:
    """What flash-attn would get, taken by an attention written out here row by row."""
    from transformers import AttentionInterface

    def row_by_row(
        module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: None, **given: Any
    ) -> tuple[torch.Tensor, None]:
        ends = given["cu_seq_lens_q"].tolist()
        assert given["cu_seq_lens_k"].tolist() == ends
        assert given["max_length_q"] == given["max_length_k"] == max(b - a for a, b in pairwise(ends))
        outputs = []
        for a, b in pairwise(ends):
            parts = (x[:, :, a:b] for x in (query, key, value))
            outputs.append(
                torch.nn.functional.scaled_dot_product_attention(*parts, is_causal=True, enable_gqa=True)
            )
        return torch.cat(outputs, 2).transpose(1, 2), None

    AttentionInterface.register("varlen_by_hand", row_by_row)
    model, _ = load_model(spec(root), "varlen_by_hand", CPU)
    plain, _ = load_model(spec(root), "eager", CPU)
    assert_same(
        step(model, [collate(rows, range(len(rows)), CPU)], "flash_attention_2"), reference(plain, rows)
    )


def test_accumulation_chunks_and_checkpointing_change_nothing(root: Path, rows: TrainRows) -> None:
    model, _ = load_model(spec(root), NAME, CPU)
    whole = step(model, [collate(rows, range(len(rows)), CPU)], NAME)
    parts = [collate(rows, numbers, CPU) for numbers in ([0, 5, 1], [2], [3, 4, 6, 7, 8])]
    assert_same(step(model, parts, NAME), whole)
    assert_same(step(model, parts, NAME, loss_logits=VOCABULARY * 7), whole)
    assert_same(step(model, parts, NAME, plain_head=False), whole)
    checkpointed, _ = load_model(spec(root, gradient_checkpointing=True), NAME, CPU)
    assert any(getattr(module, "gradient_checkpointing", False) for module in checkpointed.modules())
    assert_same(step(checkpointed, parts, NAME), whole)


@pytest.mark.parametrize("attention", [NAME, "sdpa"])
def test_altering_a_row_leaves_its_neighbours_alone(root: Path, rows: TrainRows, attention: str) -> None:
    model, _ = load_model(spec(root), attention, CPU)
    batch = collate(rows, range(len(rows)), CPU)
    first = batch.lengths[0]
    ids = batch.input_ids.clone()
    ids[0, :first] = (ids[0, :first] + 5) % VOCABULARY
    altered = Batch(ids, batch.position_ids, batch.predictors, batch.targets, batch.weights, batch.lengths)

    def losses(one: Batch) -> torch.Tensor:
        """Of each trained token on its own, through unit weights."""
        with torch.no_grad():
            return torch.stack(
                [
                    weighted_nll(
                        model,
                        Batch(
                            one.input_ids,
                            one.position_ids,
                            one.predictors[i : i + 1],
                            one.targets[i : i + 1],
                            torch.ones(1),
                            one.lengths,
                        ),
                        attention=attention,
                        plain_head=True,
                        loss_logits=2**25,
                    )
                    for i in range(0, len(one.targets), 9)
                ]
            )

    places = batch.predictors[::9]
    moved = (losses(altered) - losses(batch)).abs()
    assert moved[places < first].max() > 1e-2
    assert moved[places >= first].max() < 1e-6


def test_a_model_whose_neighbours_reach_each_other_is_refused(root: Path, rows: TrainRows) -> None:
    model, _ = load_model(spec(root), "eager", CPU)
    assert try_model(model, rows, "eager") is True
    forward = model.base_model.forward

    def one_long_sequence(**arguments: Any) -> Any:
        arguments["position_ids"] = torch.arange(arguments["input_ids"].shape[1])[None]
        return forward(**arguments)

    model.base_model.forward = one_long_sequence
    with pytest.raises(TrainingError, match="reach each other"):
        try_model(model, rows, "eager")


def test_a_head_that_scales_its_logits_is_noticed_and_trained_right(tmp_path: Path, rows: TrainRows) -> None:
    make_model(tmp_path / "model", architecture="granite", logits_scaling=4.0)
    model, _ = load_model(spec(tmp_path), NAME, CPU)
    plain, _ = load_model(spec(tmp_path), "eager", CPU)
    assert try_model(model, rows, NAME) is False
    batch = [collate(rows, range(len(rows)), CPU)]
    assert_same(step(model, batch, NAME, plain_head=False), reference(plain, rows))


def test_sliding_window_attention(tmp_path: Path, rows: TrainRows) -> None:
    make_model(tmp_path / "model", architecture="mistral", sliding_window=16)
    model, _ = load_model(spec(tmp_path), NAME, CPU)
    plain, _ = load_model(spec(tmp_path), "eager", CPU)
    assert_same(step(model, [collate(rows, range(len(rows)), CPU)], NAME), reference(plain, rows))


def test_special_attention_is_refused_with_words(tmp_path: Path, rows: TrainRows) -> None:
    make_model(tmp_path / "model", architecture="gemma2", head_dim=8, attn_logit_softcapping=20.0)
    model, _ = load_model(spec(tmp_path), NAME, CPU)
    with pytest.raises(TrainingError, match=r"softcap.*trainer\.options\.attention: eager"):
        try_model(model, rows, NAME)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=12))
def test_segments_place_every_token_once(lengths: list[int]) -> None:
    segments = Segments.of(lengths, CPU)
    assert torch.equal(segments.places[segments.order], torch.arange(sum(lengths)))
    places = sum(count * length for count, length in segments.groups)
    padding = 0 if segments.padding is None else int(segments.padding.sum())
    assert len(segments.places) == places == sum(lengths) + padding


@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=80),
    epochs=st.floats(0.1, 3.0),
    batch_size=st.integers(1, 9),
    packing=st.booleans(),
    seed=st.integers(0, 99),
)
def test_plan_uses_each_row_once_an_epoch(
    lengths: list[int], epochs: float, batch_size: int, packing: bool, seed: int
) -> None:
    chosen = settings(epochs=epochs, batch_size=batch_size, packing=packing, max_length=64)
    sizes = np.array(lengths, dtype=np.int64)
    plan = plan_training(sizes, chosen, seed)
    steps = [plan.step_packs(number) for number in range(1, plan.steps + 1)]
    packs = [pack for step_packs in steps for pack in step_packs]
    assert all(len(step_packs) == batch_size for step_packs in steps[:-1])
    assert 1 <= len(steps[-1]) <= batch_size
    assert all(0 < sizes[pack].sum() <= 64 for pack in packs)
    assert packing or all(len(pack) == 1 for pack in packs)
    first = 0
    for count in plan.epoch_packs[: int(epochs)]:
        seen = np.sort(np.concatenate(packs[first : first + count]))
        assert np.array_equal(seen, np.arange(len(lengths)))
        first += count
    assert plan.epoch(plan.steps) >= min(epochs, len(plan.epoch_packs)) - 1e-9
    again = plan_training(sizes, chosen, seed)
    assert np.array_equal(again.rows_R, plan.rows_R)
    assert np.array_equal(again.pack_starts, plan.pack_starts)


def test_packs_differ_from_epoch_to_epoch_and_by_seed() -> None:
    sizes = np.random.default_rng(0).integers(5, 30, 400)
    chosen = settings(epochs=2, max_length=100)
    plan = plan_training(sizes, chosen, 0)
    packs = [
        frozenset(plan.rows_R[a:b].tolist())
        for a, b in zip(plan.pack_starts, plan.pack_starts[1:], strict=False)
    ]
    first, second = set(packs[: plan.epoch_packs[0]]), set(packs[plan.epoch_packs[0] :])
    assert len(first & second) < 0.1 * len(first)
    assert not np.array_equal(plan_training(sizes, chosen, 1).rows_R[:50], plan.rows_R[:50])
    fill = sizes.sum() / (100 * plan.epoch_packs[0])
    assert fill > 0.95


def test_max_steps_ends_the_plan() -> None:
    plan = plan_training(np.full(40, 10), settings(epochs=5, max_steps=3, packing=False), 0)
    assert (plan.steps, plan.packs, plan.epoch(3)) == (3, 12, pytest.approx(0.3))


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    frame = make_rows(9)
    frame = frame.with_columns(
        loss_mask=pl.Series([[2, 1, 1, len(t) - 4] for t in frame["token_ids"]], dtype=pl.List(pl.UInt32))
    )
    rows = load_rows(write_shards(tmp_path / "rows", frame), tmp_path / "state")
    assert rows.sample_ids.to_list() == frame["sample_id"].to_list()
    for number, (tokens, weight) in enumerate(frame.select("token_ids", "weight").iter_rows()):
        assert rows.tokens(number).tolist() == tokens
        assert rows.weights_N[number] == np.float32(weight)
        mask = rows.mask(number)
        assert mask.tolist() == [i == 2 or i > 3 for i in range(len(tokens))]
        assert rows.trained_N[number] == mask.sum()
    other = load_rows(write_shards(tmp_path / "other", frame[::-1]), tmp_path / "state2")
    assert other.fingerprint != rows.fingerprint
