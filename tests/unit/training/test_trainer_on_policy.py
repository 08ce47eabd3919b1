"""The torch trainer on the student's own tokens: its loss, what it learns, what stops it, and resuming."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.on_policy_rows import forward, load, own_rows, reverse_kl
from tests.trainer_run import VOCABULARY, make_model, make_rows, spec, train, write_shards

from dasd.base.records import OnPolicyLoss
from dasd.base.schemas import ON_POLICY_LOSSES, ON_POLICY_TRAIN
from dasd.errors import SchemaError, TrainingError
from dasd.plugins.roles import TrainProgress
from dasd.training.preflight import preflight


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student in ``model`` and a teacher that is near it in ``teacher``."""
    import torch

    root = tmp_path_factory.mktemp("on-policy")
    make_model(root / "model")
    teacher = load(make_model(root / "teacher"))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    teacher.save_pretrained(root / "teacher")
    return root


@pytest.fixture(scope="module")
def sampled(place: Path) -> pl.DataFrame:
    """Responses of the student with the teacher's whole distribution."""
    return own_rows(load(place / "model"), load(place / "teacher"), 64, top=VOCABULARY)


def with_top(rows: pl.DataFrame, top: int | None) -> pl.DataFrame:
    """The same with the likeliest alone."""
    columns = ("top_ids", "top_logprobs")
    if top is None:
        return rows.with_columns(pl.lit(None, ON_POLICY_TRAIN.columns[name]).alias(name) for name in columns)
    first = pl.element().filter(pl.int_range(pl.len()) % VOCABULARY < top)
    return rows.with_columns(pl.col(name).list.eval(first) for name in columns)


def training(place: Path, root: Path, loss: OnPolicyLoss, **changes: Any) -> Any:
    given = {"batch_size": 8, "epochs": 3, "weight_decay": 0.0, "learning_rate": 3e-3, **changes}
    return replace(spec(root, **given), model=place / "model", on_policy=loss)


def test_the_first_step_is_the_mean_over_own_and_given_tokens(
    place: Path, sampled: pl.DataFrame, tmp_path: Path
) -> None:
    own = sampled[:12]
    given = (
        make_rows(6)
        .with_columns(
            weight=pl.lit(1.0, pl.Float32),
            **{name: pl.lit(None, ON_POLICY_TRAIN.columns[name]) for name in ON_POLICY_TRAIN.nullable},
        )
        .select(list(ON_POLICY_TRAIN.columns))
    )
    rows = pl.concat([given[:3], own[:7], given[3:], own[7:]])
    student = load(place / "model")
    nll = [
        -float(forward(student, [tokens])[0, prompt - 1 : -1].gather(-1, _targets(tokens, prompt)).sum())
        for tokens, (prompt, _) in given.select("token_ids", "loss_mask").iter_rows()
    ]
    own_tokens = sum(mask[1] for mask in own["loss_mask"])
    given_tokens = sum(mask[1] for mask in given["loss_mask"])
    distance = reverse_kl(student, load(place / "teacher"), own)
    wanted = training(
        place, tmp_path, OnPolicyLoss("reverse-kl"), max_steps=1, batch_size=64, options={"loss_logits": 300}
    )
    shards = write_shards(tmp_path / "rows", rows)
    assert preflight(shards, wanted).rows == 18
    steps: list[TrainProgress] = []
    train(shards, replace(wanted, on_step=steps.append))
    expected = (distance * own_tokens + sum(nll)) / (own_tokens + given_tokens)
    assert steps[0].loss == pytest.approx(expected, rel=1e-4)
    figures = steps[0].own
    assert figures is not None
    assert figures.kl_from_start == pytest.approx(0, abs=1e-6)
    told = -own["token_weights"].explode().sum() / own_tokens
    assert figures.reverse_kl == pytest.approx(told, rel=1e-4)
    losses = pl.read_parquet(tmp_path / "out" / "losses.parquet")
    assert losses.schema == pl.Schema(ON_POLICY_LOSSES.columns)


def _targets(tokens: list[int], prompt: int) -> Any:
    import torch

    return torch.tensor(tokens[prompt:])[:, None]


@pytest.mark.parametrize(
    ("kind", "top", "share"),
    [("reverse-kl", VOCABULARY, 0.6), ("forward-kl", 8, 0.8), ("sampled-reverse-kl", None, 0.9)],
)
def test_the_student_comes_nearer_to_the_teacher(
    place: Path, sampled: pl.DataFrame, tmp_path: Path, kind: Any, top: int | None, share: float
) -> None:
    rows = with_top(sampled, top)
    before = reverse_kl(load(place / "model"), load(place / "teacher"), sampled)
    train(write_shards(tmp_path / "rows", rows), training(place, tmp_path, OnPolicyLoss(kind)))
    after = reverse_kl(load(tmp_path / "out"), load(place / "teacher"), sampled)
    print(kind, before, after)
    assert after < share * before


def test_a_student_that_is_being_destroyed_is_kept(
    place: Path, sampled: pl.DataFrame, tmp_path: Path
) -> None:
    rows = write_shards(tmp_path / "rows", with_top(sampled[:32], 8))
    wild = training(place, tmp_path, OnPolicyLoss("reverse-kl"), learning_rate=1.0, warmup_ratio=0.0)
    with pytest.raises(TrainingError, match=r"stopped before step [23] of \d+: .*max_kl = 0\.5"):
        train(rows, wild)
    assert not (tmp_path / "out").exists()
    strict = replace(
        training(place, tmp_path, OnPolicyLoss("reverse-kl", least_entropy=1.01)), part=2, parts=3
    )
    with pytest.raises(
        TrainingError, match="entropy is .* wanted at least least_entropy = 1.01 of the first"
    ):
        train(rows, strict)


def test_a_killed_round_goes_on_to_the_same_weights(
    place: Path, sampled: pl.DataFrame, tmp_path: Path
) -> None:
    rows = write_shards(tmp_path / "rows", with_top(sampled[:32], 8))
    loss = OnPolicyLoss("reverse-kl")
    whole = training(place, tmp_path / "whole", loss, save_every=2)
    train(rows, replace(whole, part=2, parts=4))

    def stop(progress: TrainProgress) -> None:
        if progress.step == 5:
            raise KeyboardInterrupt

    killed = replace(training(place, tmp_path / "killed", loss, save_every=2), part=2, parts=4)
    with pytest.raises(KeyboardInterrupt):
        train(rows, replace(killed, on_step=stop))
    train(rows, killed, resume=True)
    for name in ("model.safetensors", "losses.parquet"):
        first, second = (tmp_path / which / "out" / name for which in ("whole", "killed"))
        if name.endswith("parquet"):
            assert pl.read_parquet(first).drop("seconds").equals(pl.read_parquet(second).drop("seconds"))
        else:
            assert first.read_bytes() == second.read_bytes()
    rates = pl.read_parquet(tmp_path / "killed" / "out" / "losses.parquet")["learning_rate"]
    assert rates[-1] > 1e-3, "its quarter of the schedule ends at the minimum"


def test_lists_that_do_not_fit_their_tokens_are_told(
    place: Path, sampled: pl.DataFrame, tmp_path: Path
) -> None:
    rows = with_top(sampled[:3], 4)
    short = rows.with_columns(top_ids=pl.col("top_ids").list.head(5))
    with pytest.raises(SchemaError, match="sample own-0 has 20 values in top_logprobs; wanted 5: as many"):
        train(write_shards(tmp_path / "rows", short), training(place, tmp_path, OnPolicyLoss("reverse-kl")))
