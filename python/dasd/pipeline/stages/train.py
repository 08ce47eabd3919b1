"""Stage ``train``: one training, from the checkpoint of the one before it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue

from dasd.base.frames import kept_set, only
from dasd.base.id_set import IdSet
from dasd.base.records import ADAPTER
from dasd.pipeline.work import fingerprints
from dasd.pipeline.work.stage import StageContext
from dasd.pipeline.work.training import LOSSES_FILE, Training, start_of, train, training_summary
from dasd.pipeline.work.units import finish_rows, units
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry
from dasd.recipe.stage_settings import MixedPolicyStage, OffPolicyStage
from dasd.store.question_lookup import QuestionLookup
from dasd.training.row_maker import RowMaker, balance_ids

__all__ = ["TrainStage"]


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
        start = start_of(context, self.previous)
        if start.revision is not None:
            context.writer.summarise({"start_revision": start.revision})
        if self.mix is not None and not mixed:
            self._pass_on(context, start.directory, output)
            return
        trainer = self.recipe.settings.trainer_for(self.stage)
        training = Training(self.stage.name, start.directory, output, trainer)
        trained, labels = train(context, training, "train")
        mixing = {"mixed_rows": mixed, "off_policy_rows": labels.rows - mixed}
        context.writer.summarise({**training_summary(trained, labels, output), **mixing})

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
