"""The student's own tokens over two processes: the built-in trainer's losses and figures, and the guard."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from deepspeed_training import STUDENT, shards, spec

from dasd.api import ON_POLICY_TRAIN, ModelSettings, OnPolicyLoss, TrainingError, TrainProgress, TrainSpec
from dasd.models.tokens.chat import ChatTokenizer
from dasd.testing.rows import train_rows, write_shards

pytestmark = [
    pytest.mark.skipif(
        find_spec("deepspeed") is None, reason="DeepSpeed is not installed in this environment"
    ),
    pytest.mark.filterwarnings("ignore::FutureWarning:deepspeed"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:deepspeed"),
]
TOP = 6


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty rows of the student's with made-up scores, and ten of the teacher's."""
    root = tmp_path_factory.mktemp("on-policy")
    chat = ChatTokenizer.load(ModelSettings(model=STUDENT))
    rows = train_rows(chat, 30, weights=(1.0,))
    draw = np.random.default_rng(4)
    columns: dict[str, list[list[float] | None]] = {name: [] for name in ON_POLICY_TRAIN.nullable}
    for number, runs in enumerate(rows["loss_mask"].to_list()):
        trained, own = sum(runs[1::2]), number % 3 > 0
        top = np.log(draw.dirichlet(np.ones(TOP + 2), trained)[:, :TOP])
        made = {
            "sampled_logprobs": np.log(draw.uniform(0.2, 1, trained)),
            "token_weights": draw.normal(size=trained),
            "top_ids": np.stack([draw.permutation(300)[:TOP] for _ in range(trained)]).ravel(),
            "top_logprobs": -np.sort(-top, axis=1).ravel(),
        }
        for name, values in made.items():
            columns[name].append(values.tolist() if own else None)
    known = [pl.Series(name, each, dtype=ON_POLICY_TRAIN.columns[name]) for name, each in columns.items()]
    write_shards(root / "rows", rows.with_columns(known).select(list(ON_POLICY_TRAIN.columns)))
    return root


def test_two_processes_take_the_steps_of_one(place: Path) -> None:
    import torch

    from dasd.training.torch.trainer import TorchTrainer
    from dasd_deepspeed.trainer import DeepSpeedTrainer

    loss = OnPolicyLoss("reverse-kl", max_kl=100.0)
    steps: dict[str, list[TrainProgress]] = {"one": [], "two": []}

    def wanted(name: str, **changes: object) -> TrainSpec:
        plain = spec(place, name, on_step=steps[name].append, max_steps=4, **changes)
        return replace(plain, on_policy=loss, part=2, parts=3)

    torch.set_num_threads(1)
    alone = wanted("one", options={})
    TorchTrainer(alone.settings).train(shards(place), alone, resume=False)
    divided = wanted("two")
    DeepSpeedTrainer(divided.settings).train(shards(place), divided, resume=False)
    for mine, theirs in zip(steps["two"], steps["one"], strict=True):
        assert mine.loss == pytest.approx(theirs.loss, rel=1e-4)
        assert mine.learning_rate == theirs.learning_rate
        assert mine.own is not None
        assert theirs.own is not None
        assert mine.own.kl_from_start == pytest.approx(theirs.own.kl_from_start, rel=1e-3)
        assert mine.own.entropy == pytest.approx(theirs.own.entropy, rel=1e-4)
    curves = [pl.read_parquet(place / name / "out" / "losses.parquet") for name in steps]
    assert curves[0].schema == curves[1].schema

    strict = replace(divided, on_policy=replace(loss, max_kl=1e-9), output=place / "stopped")
    with pytest.raises(TrainingError, match=r"stopped before step 1 of 4: .*max_kl"):
        DeepSpeedTrainer(strict.settings).train(shards(place), strict, resume=True)
    assert not (place / "stopped").exists()
