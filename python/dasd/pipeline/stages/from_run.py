"""Stages ``sample``, ``select`` and ``mix`` of a recipe with ``data``: they take what another run selected.

The responses are copied, so that the run stands by itself once they are there. Ids, texts, tokens and models stay
as the other run wrote them; only column ``stage`` names this run's stage. What is over the training context of
this recipe's student is set aside before anything is trained.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import polars as pl
from pydantic import JsonValue

from dasd.base.frames import count_rows, only
from dasd.base.id_set import IdSet
from dasd.pipeline.stages.sample import samples_summary
from dasd.pipeline.stages.source_run import HELDOUT, SourceRun
from dasd.pipeline.work import fingerprints
from dasd.pipeline.work.judging import reasons
from dasd.pipeline.work.stage import StageContext
from dasd.pipeline.work.units import Unit, finish_rows, units, verdict_rows
from dasd.plugins.recipe import Recipe
from dasd.recipe.stage_settings import MixedPolicyStage, OffPolicyStage, TrainingStage
from dasd.store import PartRows
from dasd.store.question_lookup import QuestionLookup
from dasd.training.row_maker import RowMaker

__all__ = ["TakenHeldoutStage", "TakenMixStage", "TakenSamplesStage", "TakenSelectStage"]


@dataclass(frozen=True, slots=True)
class TakenSamplesStage:
    """Writes SAMPLES: the responses that the other run's training stage was trained on."""

    recipe: Recipe
    stage: OffPolicyStage
    kind: str = field(default="sample", init=False)
    frame: ClassVar[str] = "samples"
    passes_on: ClassVar[str | None] = "responses"
    needs: tuple[str, ...] = field(default=("questions",), init=False)

    @property
    def name(self) -> str:
        """``sample-`` and the training's name."""
        return f"sample-{self.stage.name}"

    def settings(self) -> Mapping[str, JsonValue]:
        """What the other run wrote, how much of it is taken, and the teacher. Raises InputError, see SourceRun."""
        return _settings(self.recipe, self.stage)

    def run(self, context: StageContext) -> None:
        """Copy the responses."""
        source = SourceRun.open(self.recipe)
        _copy(context, source, source.samples(self.stage), source.taken(self.stage), self.name)
        context.writer.summarise(_counted(context))


@dataclass(frozen=True, slots=True)
class TakenHeldoutStage:
    """Writes SAMPLES: the teacher's responses to those evaluation questions that the other run has asked it."""

    recipe: Recipe
    name: str = field(default=HELDOUT, init=False)
    kind: str = field(default="sample", init=False)
    frame: ClassVar[str] = "samples"
    passes_on: ClassVar[str | None] = "responses"
    needs: tuple[str, ...] = field(default=("questions",), init=False)

    def settings(self) -> Mapping[str, JsonValue]:
        """What the other run wrote, and the number of questions."""
        source = SourceRun.open(self.recipe)
        return {
            "source": dict(source.contents("questions", HELDOUT)),
            "limit": self.recipe.settings.evaluation.heldout,
            "teacher": fingerprints.model_settings(self.recipe.settings.teacher),
        }

    def run(self, context: StageContext) -> None:
        """Copy the responses; warns of evaluation questions that have none."""
        source = SourceRun.open(self.recipe)
        asked = context.inputs.frame("questions", "questions").filter(pl.col("split") == "eval").collect()
        most = self.recipe.settings.evaluation.heldout
        _copy(context, source, HELDOUT, source.heldout(asked, most), self.name)
        summary = _counted(context)
        context.writer.summarise(summary)
        if not summary["responses"]:
            context.console.warn(
                f"{self.name}: the teacher answered none of these evaluation questions in {source.run.directory}, and "
                "it isn't asked again, so there is no KL"
            )


@dataclass(frozen=True, slots=True)
class TakenSelectStage:
    """Writes VERDICTS: ``selected``, but for what this student can't be trained on."""

    recipe: Recipe
    stage: OffPolicyStage
    kind: str = field(default="select", init=False)
    frame: ClassVar[str] = "verdicts"
    passes_on: ClassVar[str | None] = "selected"

    @property
    def name(self) -> str:
        """``select-`` and the training's name."""
        return f"select-{self.stage.name}"

    @property
    def needs(self) -> tuple[str, ...]:
        """Questions and the responses that were taken."""
        return ("questions", f"sample-{self.stage.name}")

    def settings(self) -> Mapping[str, JsonValue]:
        """The student's tokenizer and template, the teacher's template, and the training context."""
        return _reading(self.recipe, self.stage)

    def run(self, context: StageContext) -> None:
        """Judge the responses, ``sampling.chunk`` a unit."""
        samples = context.inputs.rows(f"sample-{self.stage.name}", "samples")
        _judge(context, self.recipe, self.stage, samples, self.name)


@dataclass(frozen=True, slots=True)
class TakenMixStage:
    """Writes SAMPLES and VERDICTS of the mixed responses that the other run trained on.

    The beginnings are the other run's student's, so to this student they are off-policy as well.
    """

    recipe: Recipe
    stage: MixedPolicyStage
    kind: str = field(default="mix", init=False)
    frame: ClassVar[str] = "samples"
    passes_on: ClassVar[str | None] = "kept"
    needs: tuple[str, ...] = field(default=("questions",), init=False)

    @property
    def name(self) -> str:
        """``mix-`` and the training's name."""
        return f"mix-{self.stage.name}"

    def settings(self) -> Mapping[str, JsonValue]:
        """What the other run wrote, how much of it is taken, both models, and the training context."""
        return {**_settings(self.recipe, self.stage), **_reading(self.recipe, self.stage)}

    def run(self, context: StageContext) -> None:
        """Copy the responses, then judge them."""
        source = SourceRun.open(self.recipe)
        _copy(context, source, source.samples(self.stage), source.taken(self.stage), self.name)
        context.writer.summarise(_counted(context))
        _judge(context, self.recipe, self.stage, context.writer.rows("samples"), self.name)


def _settings(recipe: Recipe, stage: TrainingStage) -> dict[str, JsonValue]:
    source = SourceRun.open(recipe)
    total = stage.total if isinstance(stage, OffPolicyStage) else None
    read = dict.fromkeys(("questions", source.samples(stage), source.verdicts(stage)))
    return {
        "source": dict(source.contents(*read)),
        "total": total,
        "teacher": fingerprints.model_settings(recipe.settings.teacher),
        "chunk": recipe.settings.sampling.chunk,
        "seed": None if total is None else recipe.settings.seed,
    }


def _reading(recipe: Recipe, stage: TrainingStage) -> dict[str, JsonValue]:
    return {
        "student": fingerprints.model_settings(recipe.settings.student),
        "teacher": fingerprints.model_settings(recipe.settings.teacher),
        "max_length": recipe.settings.trainer_for(stage).max_length,
    }


def _copy(context: StageContext, source: SourceRun, stage: str, wanted: IdSet, name: str) -> None:
    """Append the ``wanted`` SAMPLES rows of the other run's ``stage``, in its order."""
    source.run.verify(stage)
    samples = source.run.rows("samples", stage)
    total = samples.height
    done = context.writer.done()
    with context.console.task(f"{name}: responses of {source.run.record.name}", total, "responses") as task:
        for unit in units(total, context.recipe.settings.sampling.chunk):
            if unit.key not in done:
                rows = only(unit.rows(samples), wanted).with_columns(stage=pl.lit(name))
                finish_rows(context, "samples", rows, unit)
            task.advance(unit.size)


def _counted(context: StageContext) -> dict[str, JsonValue]:
    samples = context.writer.read("samples")
    questions = int(samples.select(pl.col("question_id").n_unique()).collect().item())
    return {"questions": questions, **samples_summary(samples)}


def _judge(context: StageContext, recipe: Recipe, stage: TrainingStage, samples: PartRows, name: str) -> None:
    """Append VERDICTS of ``samples`` and tell what is set aside."""
    # An evaluation question may have the id of the training question that it took the place of.
    asked = context.inputs.rows("questions", "questions").batches(4096)
    train = (rows.filter(pl.col("split") == "train") for rows in asked)
    messages = QuestionLookup(train, context.writer.scratch()).messages
    maker = RowMaker(recipe, messages, stage.name)
    most = recipe.settings.trainer_for(stage).max_length
    done = context.writer.done()
    for unit in units(samples.height, recipe.settings.sampling.chunk, "judge-"):
        if unit.key not in done:
            rows = unit.rows(samples)
            known = rows.filter(
                pl.Series([question in messages for question in rows["question_id"]], dtype=pl.Boolean)
            )
            lengths = maker.rows(known).select("sample_id", tokens=pl.col("token_ids").list.len())
            found = dict(lengths.iter_rows())
            _finish(
                context, name, rows["sample_id"], [found.get(each) for each in rows["sample_id"]], most, unit
            )
    verdicts = context.writer.read("verdicts")
    kept = count_rows(verdicts.filter(pl.col("kept")))
    dropped = dict(reasons(verdicts))
    taken = kept + sum(dropped.values())
    context.writer.summarise({"taken": taken, "kept": kept, "selected": kept, "dropped": {**dropped}})
    for words in _told(dropped, most):
        context.console.warn(f"{name}: {words}")
    if not kept:
        context.console.warn(f"{name}: none of {taken} responses is left to train on")


def _finish(
    context: StageContext, name: str, ids: pl.Series, lengths: list[int | None], most: int, unit: Unit
) -> None:
    """Verdicts of a unit. ``lengths``: tokens of each training row, None where its question is gone."""
    found = [
        ("not_asked", "its question is an evaluation question here, or was set aside")
        if tokens is None
        else ("length", f"{tokens} tokens of the student with the prompt, {most} fit")
        if tokens > most
        else ("", "")
        for tokens in lengths
    ]
    rows = verdict_rows(ids, name, [reason for reason, _ in found], [words for _, words in found])
    kept = pl.col("kept")
    reason = pl.when(kept).then(pl.lit("selected")).otherwise("reason")
    finish_rows(context, "verdicts", rows.with_columns(reason=reason), unit)


def _told(dropped: Mapping[str, int], most: int) -> Iterator[str]:
    words = {
        "length": f"are longer than the training context of {most} tokens as this student writes them",
        "not_asked": "belong to questions that are not among this run's training questions",
    }
    for reason, count in dropped.items():
        yield f"{count} responses {words[reason]}; set aside"
