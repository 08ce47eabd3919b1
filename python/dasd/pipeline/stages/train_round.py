"""Stage ``train`` of an on-policy round: from the checkpoint before, on what the student answered in the round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import ClassVar

import polars as pl
from pydantic import JsonValue

from dasd.base.frames import only
from dasd.base.records import OnPolicyLoss
from dasd.errors import InputError
from dasd.pipeline.stages.rollout import RolloutStage
from dasd.pipeline.work import fingerprints
from dasd.pipeline.work.stage import StageContext
from dasd.pipeline.work.training import Training, start_of, train, training_summary
from dasd.pipeline.work.units import Unit, finish_rows, share, units
from dasd.recipe.stage_settings import OnPolicyStage
from dasd.store.question_lookup import QuestionLookup
from dasd.training.own_row_maker import OwnRowMaker, Told, given_rows
from dasd.training.row_maker import RowMaker, balance_ids

__all__ = ["TrainRoundStage", "loss_of"]

_FRAME = "on_policy_train"
_OWN = "own-"
"""Begins the keys of units whose rows the student wrote."""


def loss_of(stage: OnPolicyStage) -> OnPolicyLoss:
    """What its rounds minimise."""
    return OnPolicyLoss(stage.loss, stage.clip, stage.max_kl, stage.least_entropy)


@dataclass(frozen=True, slots=True)
class TrainRoundStage:
    """Writes ON_POLICY_TRAIN, LOSSES, ON_POLICY_LOSSES and a checkpoint."""

    rollout: RolloutStage
    number: int
    """Of the training in the recipe, from 1."""
    samples: str | None = None
    """Stage of the off-policy samples before; None without ``off_policy_share``."""
    select: str | None = None
    """Stage whose verdicts say which of them were selected."""
    kind: str = field(default="train", init=False)
    frame: ClassVar[str] = _FRAME
    passes_on: ClassVar[str | None] = None

    @property
    def stage(self) -> OnPolicyStage:
        """The recipe's section."""
        return self.rollout.stage

    @property
    def name(self) -> str:
        """``train-``, the training's name, and the round; without it the last one's."""
        return f"train-{self.stage.round_name(self.rollout.round)}"

    @property
    def needs(self) -> tuple[str, ...]:
        """Questions, the round's answers, the training before, and selected responses where they are mixed in."""
        named = ("questions", self.rollout.name, self.rollout.previous, self.samples, self.select)
        return tuple(name for name in named if name is not None)

    def settings(self) -> Mapping[str, JsonValue]:
        """Section ``trainer`` for this stage, the loss, which part of the schedule it is, the student, the seed."""
        settings = self.rollout.recipe.settings
        return {
            "trainer": fingerprints.trainer_settings(settings.trainer_for(self.stage), self.rollout.registry),
            "student": fingerprints.model_settings(settings.student),
            "loss": asdict(loss_of(self.stage)),
            "part": [self.rollout.round, self.stage.rounds],
            "off_policy_share": self.stage.off_policy_share,
            "seed": settings.seed,
        }

    def run(self, context: StageContext) -> None:
        """Build the rows, show one example's labels, train."""
        context.models.close()  # training needs the memory
        trainer = self.rollout.recipe.settings.trainer_for(self.stage)
        given, told = self._write_rows(context, trainer.max_length)
        last = self.rollout.round == self.stage.rounds
        output = context.writer.artifact(
            f"checkpoints/stage{self.number}" + ("" if last else f"-round{self.rollout.round}")
        )
        start = start_of(context, self.rollout.previous)
        if start.revision is not None:
            context.writer.summarise({"start_revision": start.revision})
        training = Training(
            self.stage.round_name(self.rollout.round),
            start.directory,
            output,
            trainer,
            loss_of(self.stage),
            self.rollout.round,
            self.stage.rounds,
        )
        trained, labels = train(context, training, _FRAME)
        of_rows: dict[str, JsonValue] = {
            "own_rows": labels.rows - given,
            "off_policy_rows": given,
            "untold_share": share(told.untold, told.tokens),
            "spread_share": share(told.spread, told.tokens),
            "too_long": told.too_long,
        }
        context.writer.summarise({**training_summary(trained, labels, output), **of_rows})

    def _write_rows(self, context: StageContext, max_length: int) -> tuple[int, Told]:
        """Append the rows; returns how many are the teacher's own, and what the others are told."""
        recipe = self.rollout.recipe
        messages = QuestionLookup.of(
            context.inputs.rows("questions", "questions"), context.writer.scratch()
        ).messages
        maker = OwnRowMaker(recipe, messages, self.stage.name, max_length)
        rows = self._own_rows(context, maker)
        for unit, made in rows:
            finish_rows(context, _FRAME, made, unit)
        if maker.told.too_long:
            context.console.warn(
                f"{self.name}: {maker.told.too_long} answers are left out, as prompt and answer are over "
                f"trainer.max_length = {max_length}"
            )
        own = context.writer.rows(_FRAME, _OWN).height
        if not own:
            raise InputError(
                f"{self.name}: none of the student's answers can be trained on: {maker.told.too_long} are over "
                f"trainer.max_length = {max_length}, of the others the teacher scored no token in the student's tokens"
            )
        if self.select is None:
            return 0, maker.told
        given = RowMaker(recipe, messages, self.stage.name)
        return self._append_given(context, given, own), maker.told

    def _own_rows(self, context: StageContext, maker: OwnRowMaker) -> Iterator[tuple[Unit, pl.DataFrame]]:
        """Rows unit by unit; all are made at each start, as what they are told is counted."""
        answers = context.inputs.rows(self.rollout.name, "samples")
        scores = context.inputs.rows(self.rollout.name, self.rollout.scores)
        done, read = context.writer.done(), 0
        for unit in units(answers.height, self.rollout.recipe.settings.sampling.chunk, _OWN):
            rows = unit.rows(answers)
            # Scores come in the order of the answers; those that were refused have none.
            scored = only(scores.slice(read, min(read + unit.size, scores.height)), set(rows["sample_id"]))
            read += scored.height
            made = maker.rows(only(rows, set(scored["sample_id"])), scored)
            if unit.key not in done:
                yield unit, made

    def _append_given(self, context: StageContext, maker: RowMaker, own: int) -> int:
        assert self.samples is not None and self.select is not None
        part = self.stage.off_policy_share
        wanted = balance_ids(
            context.inputs.frame(self.select, "verdicts"),
            round(own * part / (1 - part)),
            self.rollout.recipe.settings.seed + self.rollout.round,
        )
        samples = context.inputs.rows(self.samples, "samples")
        done = context.writer.done()
        for unit in units(samples.height, self.rollout.recipe.settings.sampling.chunk, f"{self.samples}-"):
            if unit.key not in done:
                finish_rows(context, _FRAME, given_rows(maker.rows(only(unit.rows(samples), wanted))), unit)
        return len(wanted)
