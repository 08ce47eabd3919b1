"""Stage ``train``: one training, from the checkpoint of the one before it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from typing import ClassVar

import polars as pl
from pydantic import JsonValue

from dasd.base.frames import kept_set, only
from dasd.base.id_set import IdSet
from dasd.base.progress import Task
from dasd.base.records import ADAPTER
from dasd.base.schemas import LOSSES, check
from dasd.base.seeds import seed_of
from dasd.pipeline.work import fingerprints
from dasd.pipeline.work.stage import StageContext
from dasd.pipeline.work.units import finish_rows, units
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry
from dasd.plugins.roles import Checkpoint, TrainProgress, TrainSpec
from dasd.recipe.stage_settings import MixedPolicyStage, OffPolicyStage
from dasd.store.question_lookup import QuestionLookup
from dasd.training.preflight import Preflight, preflight
from dasd.training.row_maker import RowMaker, balance_ids
from dasd.training.start import StartModel, start_model

__all__ = ["TrainStage"]

LOSSES_FILE = "losses.parquet"
"""Where a trainer may leave LOSSES rows in its output: over all starts, which the callback can't know."""


@dataclass(frozen=True, slots=True)
class TrainStage:
    """Writes TRAIN, LOSSES and the checkpoint ``checkpoints/stage{number}``."""

    recipe: Recipe
    registry: Registry
    stage: OffPolicyStage | MixedPolicyStage
    number: int
    samples: str
    """Stage of the off-policy samples."""
    select: str
    """Stage whose verdicts say which of them are trained on."""
    mix: str | None
    """Stage of the mixed responses; None for an off-policy training."""
    previous: str | None
    """The training before; None: start from the recipe's student."""
    kind: str = field(default="train", init=False)
    frame: ClassVar[str] = "train"
    passes_on: ClassVar[str | None] = None

    @property
    def name(self) -> str:
        """``train-`` and the training's name."""
        return f"train-{self.stage.name}"

    @property
    def needs(self) -> tuple[str, ...]:
        """Questions, responses, verdicts, and the training before."""
        named = ("questions", self.samples, self.select, self.mix, self.previous)
        return tuple(name for name in named if name is not None)

    def settings(self) -> Mapping[str, JsonValue]:
        """Section ``trainer`` for this stage, the student, the teacher's template, the seed."""
        settings = self.recipe.settings
        found: dict[str, JsonValue] = {
            "trainer": fingerprints.trainer_settings(settings.trainer_for(self.stage), self.registry),
            "student": fingerprints.model_settings(settings.student),
            "seed": settings.seed,
        }
        if isinstance(self.stage, MixedPolicyStage):
            found |= {"balance": self.stage.balance, "train_prefix": self.stage.train_prefix}
        return found

    def run(self, context: StageContext) -> None:
        """Build the rows, show one example's labels, train."""
        context.models.close()  # training needs the memory
        mixed = self._write_rows(context)
        output = context.writer.artifact(f"checkpoints/stage{self.number}")
        start = self._start(context)
        if start.revision is not None:
            context.writer.summarise({"start_revision": start.revision})
        if self.mix is not None and not mixed:
            self._pass_on(context, start.directory, output)
            return
        trained, labels = self._train(context, start.directory, output)
        context.writer.summarise(
            {
                "rows": labels.rows,
                "mixed_rows": mixed,
                "off_policy_rows": labels.rows - mixed,
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
        )

    def _write_rows(self, context: StageContext) -> int:
        """Append the TRAIN rows; returns how many of them are mixed-policy ones."""
        questions = context.inputs.rows("questions", "questions")
        messages = QuestionLookup.of(questions, context.writer.scratch()).messages
        train_prefix = not isinstance(self.stage, MixedPolicyStage) or self.stage.train_prefix
        maker = RowMaker(self.recipe, messages, self.stage.name, train_prefix)
        selected = context.inputs.frame(self.select, "verdicts")
        if self.mix is None or not isinstance(self.stage, MixedPolicyStage):
            self._append(context, maker, self.samples, kept_set(selected))
            return 0
        mixed = kept_set(context.inputs.frame(self.mix, "verdicts"))
        self._append(context, maker, self.mix, mixed)
        count = round(self.stage.balance * len(mixed))
        wanted = balance_ids(selected, count, self.recipe.settings.seed)
        self._append(context, maker, self.samples, wanted)
        return len(mixed)

    def _append(self, context: StageContext, maker: RowMaker, stage: str, wanted: IdSet) -> None:
        samples = context.inputs.rows(stage, "samples")
        done = context.writer.done()
        for unit in units(samples.height, self.recipe.settings.sampling.chunk, f"{stage}-"):
            if unit.key not in done:
                rows = only(unit.rows(samples), wanted)
                finish_rows(context, "train", maker.rows(rows), unit)

    def _start(self, context: StageContext) -> StartModel:
        if self.previous is not None:
            return StartModel(context.inputs.artifact(self.previous), None)
        return start_model(self.recipe.settings.student)

    def _pass_on(self, context: StageContext, start: Path, output: Path) -> None:
        """Nothing mixed to train on: the checkpoint before is this stage's too."""
        context.console.warn(
            f"{self.name}: no mixed-policy response is left to train on; the checkpoint before is passed on "
            "as it is"
        )
        context.writer.event("training_skipped", reason="no mixed-policy response is left")
        shutil.rmtree(output, ignore_errors=True)
        # An adapter there belongs to the training before.
        shutil.copytree(start, output, ignore=shutil.ignore_patterns(LOSSES_FILE, ADAPTER))
        context.writer.summarise({"rows": 0, "mixed_rows": 0, "skipped": True, "steps": 0, "tokens": 0})

    def _train(self, context: StageContext, start: Path, output: Path) -> tuple[Checkpoint, Preflight]:
        settings = self.recipe.settings
        trainer_settings = settings.trainer_for(self.stage)
        seen: list[TrainProgress] = []
        tasks: list[Task] = []  # the one below, once the number of steps is known

        def on_step(progress: TrainProgress) -> None:
            passed = progress.step - (seen[-1].step if seen else 0)
            seen.append(progress)
            rate = progress.tokens / max(progress.seconds, 1e-9)
            for task in tasks:
                task.advance(passed, loss=progress.loss, **{"tokens/s": float(round(rate))})

        spec = TrainSpec(
            stage=self.stage.name,
            model=start,
            output=output,
            state=context.writer.scratch(),
            settings=trainer_settings,
            seed=seed_of(settings.seed, self.name) % 2**32,
            trust_remote_code=settings.student.trust_remote_code,
            on_step=on_step,
            hosts=context.models.hosts,
        )
        shards = context.writer.rows("train").files
        # Here and not in a trainer: whichever is to move the weights gets checked labels, once.
        checked = preflight(shards, spec)
        title, *tokens = checked.rendering.splitlines()
        context.console.info(f"{self.name}: {title}")
        context.console.detail("\n".join(tokens))
        with context.console.task(self.name, checked.steps, "steps") as task:
            tasks.append(task)
            trained = self.registry.make_trainer(trainer_settings).train(shards, spec, resume=True)
        context.writer.append("losses", losses(output, self.stage.name, seen))
        return trained, checked


def _adapter_parameters(output: Path) -> dict[str, JsonValue]:
    """How many parameters the adapter in a checkpoint has, from the header of its file; of none nothing."""
    file = output / ADAPTER / "adapter_model.safetensors"
    if not file.is_file():
        return {}
    from safetensors import safe_open

    with safe_open(file, framework="np") as tensors:
        shapes = [tensors.get_slice(name).get_shape() for name in tensors.keys()]  # noqa: SIM118 (no mapping)
    return {"adapter_parameters": sum(prod(shape) for shape in shapes)}


def losses(output: Path, stage: str, seen: list[TrainProgress]) -> pl.DataFrame:
    """LOSSES rows: what the trainer left in its output, else the steps of this start."""
    file = output / LOSSES_FILE
    if file.is_file():
        return check(pl.read_parquet(file), LOSSES, f"{LOSSES_FILE} of training {stage!r}")
    columns = [name for name in LOSSES.columns if name != "stage"]
    rows: Iterator[tuple[object, ...]] = ((stage, *(asdict(step)[name] for name in columns)) for step in seen)
    return pl.DataFrame(list(rows), schema=dict(LOSSES.columns), orient="row")
