"""Training: the trainer ``torch`` against transformers' Trainer and TRL's SFTTrainer.

All train the same rows with float32 master weights under bf16 autocast, fused AdamW, clipping at 1 and without
gradient checkpointing. ``transformers, flattened`` gets the very packs that ours makes, in its order, one a forward
pass, kept apart by position ids: its first loss has to be ours. ``transformers, padded`` gets the rows two by two.
TRL packs by itself (best fit decreasing, position ids too).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from benchmarks.gpu.clock import fresh, now, peak_bytes
from benchmarks.gpu.peer_trainers import flattened, packed_by_trl, padded
from benchmarks.gpu.results import OURS, Run
from benchmarks.gpu.sizes import TrainWork
from dasd.api import TRAIN, TrainerSettings, TrainProgress, TrainSpec
from dasd.plugins.host import PluginHost
from dasd.training.plan import plan_training

SEED = 7


@dataclass(frozen=True)
class Data:
    """Rows of random tokens, as a TRAIN shard and as lists, and the packs that our plan makes of them."""

    shard: Path
    rows: list[list[int]]
    packs: list[npt.NDArray[np.uint32]]
    max_length: int


@dataclass(frozen=True)
class Timed:
    """``seconds`` and ``tokens`` of the steps after the warm-up."""

    seconds: float
    tokens: int
    first_loss: float


class _Enough(Exception):  # noqa: N818 (no error)
    """Raised out of a training when its last timed step is done: neither state nor model is written."""


def measure(
    work: TrainWork, model: Path, root: Path, device: torch.device, rounds: int, keep: Callable[[Run], None]
) -> None:
    """Time every contender ``rounds`` times, in turn."""
    data = make_data(work, root)
    names = {
        OURS: lambda: ours(work, data, model, root, device),
        "transformers, flattened": lambda: flattened(work, data.rows, data.packs, model, root, device),
        "transformers, padded": lambda: padded(work, data.rows, data.packs, model, root, device),
    }
    label = (
        f"{work.shape.name}, packs of {work.max_length}, {work.packs} a step, {work.steps} steps; responses of "
        f"{np.mean([len(row) for row in data.rows]):.0f} tokens"
    )
    without_trl = _without_trl()
    if not without_trl:
        names["TRL, packing"] = lambda: packed_by_trl(work, data.rows, model, root, device)
    failed: set[str] = set()
    for turn in range(rounds):
        order = list(names)
        for name in order[turn % len(order) :] + order[: turn % len(order)]:
            if name in failed:
                continue
            fresh(device)
            try:
                timed = names[name]()
            except torch.OutOfMemoryError:
                failed.add(name)
                keep(Run("training", label, name, turn, failed="out of memory"))
                continue
            keep(
                Run(
                    "training",
                    label,
                    name,
                    turn,
                    timed.seconds,
                    timed.tokens,
                    peak_bytes(device),
                    first_loss=timed.first_loss,
                )
            )
    if without_trl:
        keep(Run("training", label, "TRL, packing", 0, failed=without_trl))


def _without_trl() -> str:
    """Why TRL can't take part; empty where it can."""
    try:
        import datasets  # noqa: F401
        from trl import SFTTrainer  # type: ignore[attr-defined]  # noqa: F401
    except (ImportError, RuntimeError) as error:
        return f"left out: {error}"
    return ""


def make_data(work: TrainWork, root: Path) -> Data:
    """Responses with lengths like those of reasoning: log-normal, the longest a whole pack."""
    root.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(SEED)
    # One step more than is used: the last one of a training saves its state.
    count = 2 * int((work.warmup + work.steps + 1) * work.packs * work.max_length / work.mean_length)
    spread = 0.7
    drawn = work.mean_length * np.exp(spread * draw.standard_normal(count) - spread**2 / 2)
    lengths = np.clip(drawn, 2 * work.prompt, work.max_length).astype(np.int64)
    rows = [draw.integers(0, work.shape.vocabulary - 3, int(length)).tolist() for length in lengths]
    frame = pl.DataFrame(
        {
            "sample_id": [f"row-{number}" for number in range(count)],
            "token_ids": rows,
            "loss_mask": [[work.prompt, len(row) - work.prompt] for row in rows],
            "weight": [1.0] * count,
            "stage": ["bench"] * count,
        },
        schema=dict(TRAIN.columns),
    )
    shard = root / "rows.parquet"
    frame.write_parquet(shard)
    plan = plan_training(lengths, settings(work, "cpu"), SEED)
    packs = [pack for step in range(1, plan.steps + 1) for pack in plan.step_packs(step)]
    return Data(shard, rows, packs, work.max_length)


def settings(work: TrainWork, device: str) -> TrainerSettings:
    """Ours; what the peers are given is in ``peer_trainers.arguments``."""
    return TrainerSettings(
        epochs=1,
        warmup_ratio=0.0,
        batch_size=work.packs,
        micro_batch_size=1,
        max_length=work.max_length,
        save_every=10**6,
        device=device,
    )


def ours(work: TrainWork, data: Data, model: Path, root: Path, device: torch.device) -> Timed:
    """The trainer as a recipe makes it, stopped by its own callback."""
    losses: list[float] = []
    marks: list[tuple[float, int]] = []

    def on_step(progress: TrainProgress) -> None:
        losses.append(progress.loss)
        if progress.step in (work.warmup, work.warmup + work.steps):
            marks.append((now(device), progress.tokens))
        if progress.step == work.warmup + work.steps:
            raise _Enough

    wanted = settings(work, str(device))
    trainer = PluginHost.load([], _quiet).registry.make_trainer(wanted)
    spec = TrainSpec(
        stage="bench",
        model=model,
        output=root / "trained",
        state=root / "state",
        settings=wanted,
        seed=SEED,
        trust_remote_code=False,
        on_step=on_step,
    )
    with suppress(_Enough):
        trainer.train([data.shard], spec, resume=False)
    (start, before), (end, after) = marks
    return Timed(end - start, after - before, losses[0])


def _quiet(_: str) -> None:
    """Plugins that don't load are none of this command's business."""
