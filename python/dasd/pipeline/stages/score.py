"""Stage ``score``: the student, as it is before distillation, scores the teacher's kept responses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import polars as pl
from pydantic import JsonValue

from dasd.base.frames import kept_set, only
from dasd.base.records import ScoringSpec
from dasd.models.tokens.think_opening import Reading
from dasd.pipeline.work import fingerprints
from dasd.pipeline.work.feeding import Asking, generate
from dasd.pipeline.work.stage import StageContext
from dasd.pipeline.work.units import share, units
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry
from dasd.store.question_lookup import QuestionLookup

__all__ = ["ScoreStage"]


@dataclass(frozen=True, slots=True)
class ScoreStage:
    """Writes SCORES: each response's text in the student's tokens, with the student's log-probabilities."""

    recipe: Recipe
    registry: Registry
    name: str
    samples: str
    """Stage of the samples."""
    dedup: str
    """Stage whose verdicts say which samples are left."""
    kind: str = field(default="score", init=False)
    frame: ClassVar[str] = "scores"
    passes_on: ClassVar[str | None] = None

    @property
    def needs(self) -> tuple[str, ...]:
        """Questions, samples and verdicts."""
        return ("questions", self.samples, self.dedup)

    def settings(self) -> Mapping[str, JsonValue]:
        """The student."""
        return {"student": fingerprints.engine_settings(self.recipe.settings.student, self.registry)}

    def run(self, context: StageContext) -> None:
        """Score; a unit of work holds what is left of ``sampling.chunk`` samples."""
        settings = self.recipe.settings
        samples = context.inputs.rows(self.samples, "samples").select(
            ["sample_id", "question_id", "text", "finish_reason", "token_ids", "token_ends", "tokenizer_hash"]
        )
        of_unit = samples.select(["sample_id", "question_id"])
        kept = kept_set(context.inputs.frame(self.dedup, "verdicts"))
        questions = context.inputs.rows("questions", "questions")
        messages = QuestionLookup.of(questions, context.writer.scratch()).messages
        spec = ScoringSpec(self.name, settings.student.token_budget)
        reading = Reading.of(settings.teacher, settings.student)

        generate(
            context,
            f"{self.name}: student scores",
            Asking(
                work=units(samples.height, settings.sampling.chunk),
                questions=lambda unit: dict(only(unit.rows(of_unit), kept).iter_rows()),
                requests=lambda unit, left: reading.to_score(only(unit.rows(samples), left), messages),
                teacher=lambda: context.models.open(settings.student),
                ask=lambda student, asked, on_refused: reading.scored(
                    student, asked, replace(spec, on_refused=on_refused)
                ),
                size=lambda each: len(each.request.text),
            ),
            "scores",
        )
        figures = context.writer.read("scores").select(
            responses=pl.len(),
            tokens=pl.col("token_ids").list.len().sum(),
            nats=pl.col("logprobs").list.sum().cast(pl.Float64).sum(),
        )
        responses, tokens, nats = figures.collect(engine="streaming").row(0)
        context.writer.summarise(
            {
                "responses": responses,
                "student_tokens": int(tokens or 0),
                "student_nats_per_token": share(-float(nats or 0), int(tokens or 0)),
            }
        )
