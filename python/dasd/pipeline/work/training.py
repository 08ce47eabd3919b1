"""One training: from a start model and shards of rows to a checkpoint and its learning curve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path

import polars as pl
from pydantic import JsonValue

from dasd.base.progress import Task
from dasd.base.records import ADAPTER, OnPolicyLoss
from dasd.base.schemas import LOSSES, ON_POLICY_LOSSES, Schema, check
from dasd.base.seeds import seed_of
from dasd.pipeline.work.stage import StageContext
from dasd.plugins.roles import Checkpoint, TrainProgress, TrainSpec
from dasd.recipe.training_settings import TrainerSettings
from dasd.training.preflight import Preflight, preflight
from dasd.training.start import StartModel, start_model

__all__ = ["LOSSES_FILE", "Training", "start_of", "train", "training_summary"]

LOSSES_FILE = "losses.parquet"
"""Where a trainer may leave LOSSES rows in its output: over all starts, which the callback can't know."""


@dataclass(frozen=True, slots=True)
class Training:
    """What is trained, and how."""

    stage: str
    """Name of the training in the recipe, or of its round."""
    start: Path
    output: Path
    settings: TrainerSettings
    on_policy: OnPolicyLoss | None = None
    part: int = 1
    parts: int = 1


def start_of(context: StageContext, previous: str | None) -> StartModel:
    """The checkpoint of the training before; the recipe's student where there is none."""
    if previous is not None:
        return StartModel(context.inputs.artifact(previous), None)
    return start_model(context.recipe.settings.student)


def train(context: StageContext, training: Training, frame: str) -> tuple[Checkpoint, Preflight]:
    """Train on the rows that the stage wrote as ``frame``; show one example's labels, write the losses."""
    settings = context.recipe.settings
    seen: list[TrainProgress] = []
    tasks: list[Task] = []  # the one below, once the number of steps is known

    def on_step(progress: TrainProgress) -> None:
        passed = progress.step - (seen[-1].step if seen else 0)
        seen.append(progress)
        rate = progress.tokens / max(progress.seconds, 1e-9)
        for task in tasks:
            task.advance(passed, loss=progress.loss, **{"tokens/s": float(round(rate))})

    spec = TrainSpec(
        stage=training.stage,
        model=training.start,
        output=training.output,
        state=context.writer.scratch(),
        settings=training.settings,
        seed=seed_of(settings.seed, context.name) % 2**32,
        trust_remote_code=settings.student.trust_remote_code,
        on_step=on_step,
        hosts=context.models.hosts,
        on_policy=training.on_policy,
        part=training.part,
        parts=training.parts,
    )
    shards = context.writer.rows(frame).files
    # Here and not in a trainer: whichever is to move the weights gets checked labels, once.
    checked = preflight(shards, spec)
    title, *tokens = checked.rendering.splitlines()
    context.console.info(f"{context.name}: {title}")
    context.console.detail("\n".join(tokens))
    with context.console.task(context.name, checked.steps, "steps") as task:
        tasks.append(task)
        trained = context.registry.make_trainer(training.settings).train(shards, spec, resume=True)
    for schema, rows in losses(training, seen).items():
        context.writer.append(schema, rows)
    return trained, checked


def losses(training: Training, seen: list[TrainProgress]) -> dict[str, pl.DataFrame]:
    """Frames LOSSES, and of an on-policy training ON_POLICY_LOSSES: of what the trainer left, else of this start."""
    on_policy = training.on_policy is not None
    wanted: Schema = ON_POLICY_LOSSES if on_policy else LOSSES
    file = training.output / LOSSES_FILE
    if file.is_file():
        found = pl.read_parquet(file)
        if on_policy and "entropy" not in found.columns:  # of a trainer that tells losses alone
            found = found.with_columns(pl.lit(None, pl.Float64).alias(name) for name in wanted.nullable)
        found = check(found, wanted, f"{LOSSES_FILE} of training {training.stage!r}")
    else:
        rows = [
            {"stage": training.stage, **asdict(step), **({} if step.own is None else asdict(step.own))}
            for step in seen
        ]
        columns = dict(wanted.columns)
        found = pl.DataFrame(
            [[row.get(name) for name in columns] for row in rows], schema=columns, orient="row"
        )
    frames = {LOSSES.name: found.select(list(LOSSES.columns))}
    return {**frames, ON_POLICY_LOSSES.name: found} if on_policy else frames


def training_summary(trained: Checkpoint, labels: Preflight, output: Path) -> Mapping[str, JsonValue]:
    """What a training did."""
    return {
        "rows": labels.rows,
        "row_tokens": labels.tokens,
        "trained_tokens": labels.trained_tokens,
        "steps": trained.steps,
        "tokens": trained.tokens,
        "first_loss": trained.first_loss,
        "last_loss": trained.last_loss,
        "seconds": trained.seconds,
        **_adapter_parameters(output),
        "example": labels.rendering,
    }


def _adapter_parameters(output: Path) -> dict[str, JsonValue]:
    """How many parameters the adapter in a checkpoint has, from the header of its file; of none nothing."""
    file = output / ADAPTER / "adapter_model.safetensors"
    if not file.is_file():
        return {}
    from safetensors import safe_open

    with safe_open(file, framework="np") as tensors:
        shapes = [tensors.get_slice(name).get_shape() for name in tensors.keys()]  # noqa: SIM118 (no mapping)
    return {"adapter_parameters": sum(prod(shape) for shape in shapes)}
