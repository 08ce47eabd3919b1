"""Stage ``filter``: a verdict on every response, kept with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import polars as pl
from pydantic import JsonValue

from dasd.base.frames import count_rows
from dasd.pipeline.work import fingerprints
from dasd.pipeline.work.judging import Judge, reasons
from dasd.pipeline.work.question_groups import question_groups, resume_at
from dasd.pipeline.work.stage import StageContext
from dasd.pipeline.work.units import finish_rows, share
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry
from dasd.store import Summaries
from dasd.store.question_lookup import QuestionLookup

__all__ = ["FilterStage"]


@dataclass(frozen=True, slots=True)
class FilterStage:
    """Writes VERDICTS: ``reason`` is the first filter that drops the response, "" for a kept one."""

    recipe: Recipe
    registry: Registry
    name: str
    samples: str
    """Stage of the samples."""
    max_length: int
    """Training context in the student's tokens."""
    kind: str = field(default="filter", init=False)
    frame: ClassVar[str] = "verdicts"
    passes_on: ClassVar[str | None] = None

    @property
    def needs(self) -> tuple[str, ...]:
        """Questions and samples."""
        return ("questions", self.samples)

    def settings(self) -> Mapping[str, JsonValue]:
        """Section ``filters``, the student's tokenizer, the training context."""
        section = self.recipe.settings.filters
        return {
            "filters": fingerprints.filters_settings(section, self.registry),
            "student": fingerprints.model_settings(self.recipe.settings.student),
            "max_length": self.max_length,
        }

    def settings_by_needs(self, summaries: Summaries) -> Mapping[str, JsonValue]:
        """The verifiers that the questions name, where answers are filtered."""
        if not self.recipe.settings.filters.answer:
            return {}
        return {"verifiers": fingerprints.verifier_versions(self.registry, summaries, "train")}

    def run(self, context: StageContext) -> None:
        """Judge groups of whole questions."""
        samples = context.inputs.frame(self.samples, "samples")
        asked = context.inputs.rows("questions", "questions")
        questions = QuestionLookup.of(asked, context.writer.scratch())
        judge = Judge(self.recipe, self.registry, self.max_length, questions, self.name)
        if judge.unknown is not None:
            context.console.warn(f"{self.name}: {judge.unknown}")
        total = count_rows(samples)
        start = resume_at(context.writer.done())
        with context.console.task(f"{self.name}: filters", total, "responses", completed=start) as task:
            for group in question_groups(samples.select(judge.columns), start):
                finish_rows(context, "verdicts", judge.verdicts(group.rows), group.unit)
                task.advance(group.unit.size)
        verdicts = context.writer.read("verdicts")
        kept = count_rows(verdicts.filter(pl.col("kept")))
        dropped = reasons(verdicts)
        context.writer.summarise(
            {"responses": total, "kept": kept, "kept_share": share(kept, total), "dropped": dict(dropped)}
        )
        if total and not kept:
            context.console.warn(f"{self.name}: the filters dropped all {total} responses: {dropped}")
