"""The torch trainer from shards to a model directory."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.trainer_run import END, TEMPLATE, make_model, make_rows, settings, spec, train, write_shards

from dasd.api import TRAIN, InputError, RecipeError, Trainer, TrainingError, TrainProgress
from dasd.base.schemas import LOSSES, check
from dasd.plugins.registry import Registry
from dasd.training.step import learning_rate
from dasd.training.torch.builtin import dasd_register


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_model(tmp_path / "model")
    return tmp_path


@pytest.fixture
def shards(root: Path) -> list[Path]:
    return write_shards(root / "rows", make_rows(20))


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return load_file(directory / "model.safetensors")


def same(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_registered_lazily_with_checked_options() -> None:
    registry = Registry()
    dasd_register(registry)
    made = registry.make_trainer(settings())
    assert isinstance(made, Trainer)
    with pytest.raises(RecipeError, match="attention"):
        registry.make_trainer(settings(options={"attention": "telepathy"}))


def test_leaves_a_directory_that_loads_and_a_whole_curve(root: Path, shards: list[Path]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    steps: list[TrainProgress] = []
    (root / "model" / "generation_config.json").write_text(json.dumps({"eos_token_id": [END], "top_p": 0.5}))
    result = train(shards, spec(root, on_step=steps.append))
    model = AutoModelForCausalLM.from_pretrained(result.path)
    tokenizer = AutoTokenizer.from_pretrained(result.path)
    assert tokenizer.chat_template == TEMPLATE
    assert not same(root / "model", result.path)
    assert model.dtype == torch.float32
    config = json.loads((result.path / "config.json").read_text())
    assert not [key for key in config if "attn" in key]
    assert json.loads((result.path / "generation_config.json").read_text())["top_p"] == 0.5
    curve = check(pl.read_parquet(result.path / "losses.parquet"), LOSSES, "curve")
    assert curve["loss"].to_list() == [step.loss for step in steps]
    assert curve["step"].to_list() == list(range(1, result.steps + 1))
    assert (result.first_loss, result.last_loss) == (steps[0].loss, steps[-1].loss)
    assert result.tokens == steps[-1].tokens == 2 * pl.read_parquet(shards)["token_ids"].list.len().sum()
    assert steps[-1].epoch == 2.0
    assert [path.name for path in root.iterdir() if path.name.startswith(".")] == []


def test_loading_and_writing_a_model_draws_no_bars(
    root: Path, shards: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers.utils import logging

    assert logging.is_progress_bar_enabled()
    train(shards, spec(root, max_steps=1))
    assert capfd.readouterr() == ("", "")
    assert logging.is_progress_bar_enabled()  # as the caller had it


def test_same_seed_same_weights_other_seed_other_weights(
    root: Path, shards: list[Path], tmp_path: Path
) -> None:
    from dataclasses import replace

    first = spec(root)
    train(shards, first)
    second = replace(first, output=root / "again", state=root / "state2")
    train(shards, second)
    third = replace(first, output=root / "other", state=root / "state3", seed=8)
    train(shards, third)
    assert same(first.output, second.output)
    assert not same(first.output, third.output)


def test_micro_batches_and_chunks_give_the_same_curve(root: Path, shards: list[Path]) -> None:
    curves = []
    for changes in (
        {},
        {"micro_batch_size": 4},
        {"options": {"loss_logits": 100}},
        {"gradient_checkpointing": True},
    ):
        steps: list[TrainProgress] = []
        train(shards, spec(root, on_step=steps.append, **changes))
        curves.append([step.loss for step in steps])
    for curve in curves[1:]:
        assert curve == pytest.approx(curves[0], abs=1e-4)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_learns_twenty_rows_by_heart(root: Path, optimizer: str, precision: str) -> None:
    # The same prompt never has two answers: each starts with its own number.
    draw = np.random.default_rng(3)
    rows = [
        (f"s{i}", [3 + i, 4, *draw.integers(3, 48, 10).tolist(), END], [2, 11], 1.0, "low") for i in range(20)
    ]
    shards = write_shards(root / "heart", pl.DataFrame(rows, schema=dict(TRAIN.columns), orient="row"))
    result = train(
        shards,
        spec(
            root,
            optimizer=optimizer,
            precision=precision,
            epochs=150,
            batch_size=5,
            micro_batch_size=5,
            max_length=64,
            weight_decay=0,
            learning_rate=2e-2,
            min_learning_rate=1e-4,
            save_every=1000,
        ),
    )
    assert result.first_loss > 3
    assert result.last_loss < 0.05


def test_weight_scales_a_rows_share_of_the_gradient(root: Path) -> None:
    """A row of weight 3 is worth three copies of it."""
    frame = make_rows(2, low=12, high=13).with_columns(weight=pl.Series([3.0, 1.0], dtype=pl.Float32))
    copies = pl.concat([frame[0], frame[0], frame[0], frame[1]]).with_columns(
        weight=pl.lit(1.0, dtype=pl.Float32)
    )
    losses = []
    for name, rows in (("weighted", frame), ("copied", copies)):
        shards = write_shards(root / name, rows)
        losses.append(train(shards, spec(root, epochs=1, packing=False, batch_size=4)).first_loss)
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_stored_type_is_kept(root: Path, shards: list[Path]) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(root / "model", dtype=torch.bfloat16)
    model.save_pretrained(root / "model")
    result = train(shards, spec(root))
    assert {t.dtype for t in weights(result.path).values()} == {torch.bfloat16}
    assert json.loads((result.path / "config.json").read_text())["dtype"] == "bfloat16"


def test_tied_embeddings_stay_tied(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    make_model(tmp_path / "model", tie_word_embeddings=True)
    for optimizer in ("adamw", "muon"):
        result = train(
            write_shards(tmp_path / "rows", make_rows(8)), spec(tmp_path, optimizer=optimizer, epochs=1)
        )
        model = AutoModelForCausalLM.from_pretrained(result.path)
        assert model.lm_head.weight is model.model.embed_tokens.weight


def test_a_loss_that_is_not_finite_is_refused(root: Path, shards: list[Path]) -> None:
    broken = weights(root / "model")
    broken["model.norm.weight"][0] = float("nan")
    save_file(broken, root / "model" / "model.safetensors", {"format": "pt"})
    with pytest.raises(TrainingError, match=r"step 1 of \d+ has loss nan.*Learning rate 0\.0.*sample-\d+"):
        train(shards, spec(root))
    assert not (root / "out").exists()


def test_blowing_up_keeps_the_last_good_state(root: Path, shards: list[Path]) -> None:
    wild = {"learning_rate": 1e30, "min_learning_rate": 0, "warmup_ratio": 0.0, "save_every": 1}
    done: list[int] = []
    with pytest.raises(TrainingError, match="last saved state is kept"):
        train(shards, spec(root, on_step=lambda p: done.append(p.step), **wild))
    assert done
    state = load_file(root / "state" / "state.safetensors")
    assert state["model/lm_head.weight"].shape == (48, 32)
    assert not (root / "out").exists()


def test_ctrl_c_saves_and_resume_goes_on_exactly(root: Path, shards: list[Path]) -> None:
    from dataclasses import replace

    whole: list[TrainProgress] = []
    first = spec(root, on_step=whole.append, save_every=100)
    train(shards, first)

    def stop(progress: TrainProgress) -> None:
        if progress.step == 4:
            raise KeyboardInterrupt

    cut = replace(first, output=root / "cut", state=root / "cutstate", on_step=stop)
    with pytest.raises(KeyboardInterrupt):
        train(shards, cut)
    assert not cut.output.exists()
    rest: list[TrainProgress] = []
    result = train(shards, replace(cut, on_step=rest.append), resume=True)
    assert [p.step for p in rest] == list(range(5, whole[-1].step + 1))
    assert [(p.loss, p.grad_norm, p.tokens) for p in rest] == [
        (p.loss, p.grad_norm, p.tokens) for p in whole[4:]
    ]
    assert result.first_loss == whole[0].loss
    assert same(first.output, cut.output)
    columns = ["step", "loss", "learning_rate", "grad_norm", "tokens", "epoch"]
    curves = [pl.read_parquet(out / "losses.parquet").select(columns) for out in (first.output, cut.output)]
    assert curves[0].equals(curves[1])


@pytest.mark.parametrize("change", ["settings", "seed", "rows", "model", "torn"])
def test_a_foreign_or_torn_state_is_not_resumed(
    root: Path, shards: list[Path], change: str, caplog: pytest.LogCaptureFixture
) -> None:
    from dataclasses import replace

    first = spec(root)
    train(shards, first)
    second = replace(first, output=root / "second")
    if change == "settings":
        second = replace(second, settings=settings(learning_rate=2e-2))
    elif change == "seed":
        second = replace(second, seed=99)
    elif change == "rows":
        shards = write_shards(root / "rows", make_rows(20, seed=5))
    elif change == "model":
        changed = weights(root / "model")
        changed["lm_head.weight"] += 0.1
        save_file(changed, root / "model" / "model.safetensors", {"format": "pt"})
    else:
        state = root / "state" / "state.safetensors"
        state.write_bytes(state.read_bytes()[:-100])
    resumed: list[int] = []
    train(shards, replace(second, on_step=lambda p: resumed.append(p.step)), resume=True)
    assert resumed[0] == 1
    assert "training starts anew" in caplog.text
    fresh = replace(second, output=root / "fresh", state=root / "fresh-state")
    train(shards, fresh)
    assert same(second.output, fresh.output)


def test_a_finished_training_is_only_written_again(root: Path, shards: list[Path]) -> None:
    from dataclasses import replace

    first = spec(root)
    result = train(shards, first)
    steps: list[int] = []
    again = train(
        shards,
        replace(
            first,
            output=root / "again",
            on_step=lambda p: steps.append(p.step),
            settings=settings(save_every=9),
        ),
        resume=True,
    )
    assert steps == []
    assert again.steps == result.steps
    assert same(first.output, root / "again")


def test_an_output_that_is_there_is_replaced(root: Path, shards: list[Path]) -> None:
    (root / "out").mkdir()
    (root / "out" / "old").write_text("x")
    result = train(shards, spec(root, max_steps=1))
    assert result.steps == 1
    assert not (root / "out" / "old").exists()
    assert (root / "out" / "model.safetensors").exists()


def test_global_random_numbers_and_threads_are_left_alone(root: Path, shards: list[Path]) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    train(shards, spec(root, max_steps=1))
    assert torch.equal(torch.rand(3), wanted)
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"device": "toaster"}, InputError, "trainer.device 'toaster': wanted auto, cpu, cuda or cuda:N"),
        ({"device": "cuda:99"}, InputError, "trainer.device 'cuda:99': torch sees"),
    ],
)
def test_wrong_settings(
    root: Path, shards: list[Path], changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        train(shards, spec(root, **changes))


def test_wrong_options() -> None:
    registry = Registry()
    dasd_register(registry)
    with pytest.raises(RecipeError, match=r"trainer\.options\.attention: wanted 'auto', .*, got 'x'"):
        registry.make_trainer(settings(options={"attention": "x"}))


def test_schedule() -> None:
    chosen = settings(learning_rate=1.0, min_learning_rate=0.1, warmup_ratio=0.1)
    rates = [learning_rate(step, 100, chosen) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([i / 10 for i in range(1, 11)])
    assert rates[54] == pytest.approx(0.55)
    assert rates[-1] == pytest.approx(0.1)
    assert all(a > b for a, b in pairwise(rates[9:]))
    assert learning_rate(1, 1, chosen) == pytest.approx(0.1)
