"""Stage ``report``: everything that the run found, as a page and as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import polars as pl
from pydantic import JsonValue

from dasd.base.files import write_whole
from dasd.base.frames import messages_by_question
from dasd.base.records import ScoringSpec
from dasd.base.schemas import SCORES
from dasd.errors import StoreError
from dasd.models.tokens.think_opening import Reading
from dasd.pipeline.stages.own_answers_scored import own_answers, samples_teacher
from dasd.pipeline.work import fingerprints
from dasd.pipeline.work.grading import Grader
from dasd.pipeline.work.stage import StageContext
from dasd.plugins.catalogue import plugins_of_executors
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry
from dasd.recipe.stage_settings import OffPolicyStage
from dasd.results.report.answers import MOST
from dasd.results.report.build import build
from dasd.results.report.data import FORMAT
from dasd.results.report.distilled import ALPHA, RESPONSES, Distilled, distilled_sentences
from dasd.results.report.series import compared, rows_of, sampled_ids
from dasd.store import Run, Summaries
from dasd.store.question_lookup import QuestionLookup
from dasd.store.run import REPORT, REPORT_PAGE
from dasd.version import __version__

__all__ = ["ReportStage"]

UNIT = "distilled"
_PLAN: Mapping[str, JsonValue] = {
    "response_tokens": None,
    "answer_tokens": None,
    "teacher_params": None,
    "teacher_active": None,
    "student_params": None,
    "student_active": None,
    "devices": 1,
}
"""Section ``plan`` as it stands in the fingerprint, whatever the recipe's: the run looks at none of it. These are the
keys and defaults that it had when it counted, so that the reports of earlier runs stand."""


@dataclass(frozen=True, slots=True)
class ReportStage:
    """Writes report.html, report.json, and sentences with the distilled model's view.

    SENTENCES of a few selected responses, ANSWER_SENTENCES of a few of the student's own answers.
    """

    recipe: Recipe
    registry: Registry
    needs: Sequence[str]
    """Every other stage of the run."""
    name: str = field(default="report", init=False)
    kind: str = field(default="report", init=False)
    frame: ClassVar[str] = "sentences"
    passes_on: ClassVar[str | None] = None

    def settings(self) -> Mapping[str, JsonValue]:
        """The recipe, which the page shows, without where engines ran; and what scores."""
        settings = self.recipe.settings
        recipe = settings.model_dump(mode="json", exclude={"plan", "executor"})
        elsewhere = plugins_of_executors(self.registry)
        plugins: list[JsonValue] = [
            name for name in settings.plugins if name.removeprefix("dasd-") not in elsewhere
        ]
        return {
            "recipe": {**recipe, "plugins": plugins, "plan": dict(_PLAN)},
            "format": FORMAT,
            "dasd": __version__,
            "alpha": ALPHA,
            "responses": RESPONSES,
            "answers": MOST,
            "student": fingerprints.backend_settings(settings.student, self.registry),
            **(
                {"teacher": fingerprints.backend_settings(settings.teacher, self.registry)}
                if samples_teacher(settings)
                else {}
            ),
        }

    def settings_by_needs(self, summaries: Summaries) -> Mapping[str, JsonValue]:
        """The verifiers that the questions name."""
        return {"verifiers": fingerprints.verifier_versions(self.registry, summaries, "train", "eval")}

    def run(self, context: StageContext) -> None:
        """Score the student's answers and a few selected responses, then write page and numbers."""
        run = Run.open(context.writer.directory.parent.parent)
        checkpoint = self._checkpoint()
        # Before the selected responses: the distilled student is then open for both.
        own = own_answers(context, checkpoint, f"evaluate-{checkpoint}" in self.needs)
        distilled = self._distilled(context, run, checkpoint)
        grader = Grader(self.registry)
        lookup = QuestionLookup.of(run.rows("questions", "questions"), context.writer.scratch())

        def grade(rows: pl.DataFrame) -> pl.Series:
            return grader.correct_rows(rows.select("question_id", "text").iter_rows(), lookup.answers)

        report = build(run, grade, distilled, own)
        page, numbers = context.writer.artifact(REPORT_PAGE), context.writer.artifact(REPORT)
        write_whole(page, report.html.encode())
        write_whole(numbers, report.data.model_dump_json(indent=2).encode() + b"\n")
        shown = sum(note.shown for note in report.data.figures)
        context.writer.summarise(
            {
                "figures": shown,
                "figures_left_out": len(report.data.figures) - shown,
                "warnings": list(report.data.warnings),
            }
        )
        context.console.info(f"report: {page}")

    def _checkpoint(self) -> str | None:
        """The last training stage that this run trains."""
        trained = [
            name for name in (s.name for s in self.recipe.settings.stages) if f"train-{name}" in self.needs
        ]
        return trained[-1] if trained else None

    def _distilled(self, context: StageContext, run: Run, checkpoint: str | None) -> Distilled | None:
        """The third probability of a few responses of the last off-policy stage, if one was trained."""
        settings = self.recipe.settings
        stages = [stage.name for stage in settings.stages if isinstance(stage, OffPolicyStage)]
        if not stages or checkpoint is None or f"select-{stages[-1]}" not in self.needs:
            return None
        stage = stages[-1]
        if UNIT not in context.writer.done():
            verdicts = context.inputs.frame(f"select-{stage}", "verdicts").filter(pl.col("kept"))
            ids = sampled_ids(verdicts, RESPONSES, settings.seed, UNIT)
            sentences = rows_of(context.inputs.frame(f"select-{stage}", "sentences"), ids)
            if compared(sentences.lazy()).collect().height:  # without the teacher's a third one tells nothing
                rows = self._score(context, run, stage, checkpoint, ids, sentences)
                context.writer.append("sentences", rows, key=UNIT)
            context.writer.finish_unit(UNIT)
        found = context.writer.read("sentences").collect()
        return Distilled(found, stage, checkpoint, ALPHA, settings.select.beta) if found.height else None

    def _score(
        self,
        context: StageContext,
        run: Run,
        stage: str,
        checkpoint: str,
        ids: Sequence[str],
        sentences: pl.DataFrame,
    ) -> pl.DataFrame:
        """SENTENCES rows of these samples with p_distilled."""
        settings = self.recipe.settings
        model = settings.student.model_copy(
            update={"model": str(context.inputs.artifact(f"train-{checkpoint}")), "revision": None}
        )
        samples = rows_of(context.inputs.frame(f"sample-{stage}", "samples"), ids)
        if samples.height != len(ids):
            raise StoreError(
                f"stage sample-{stage} of {run.directory} lacks samples that select-{stage} selected: wanted "
                f"{len(ids)}, found {samples.height}; run them again"
            )
        asked_of = context.inputs.frame("questions", "questions").filter(
            pl.col("question_id").is_in(samples["question_id"].implode())
        )
        messages = messages_by_question(asked_of)
        # Responses that can't be scored are left out of a figure.
        spec = ScoringSpec(self.name, settings.student.token_budget, lambda *_: None)
        parts = [SCORES.empty()]
        description = "report: distilled student scores"
        reading = Reading.of(settings.teacher, settings.student)
        with context.console.task(description, samples.height, "responses") as task:
            asked = reading.to_score(samples, messages)
            for part in reading.scored(context.models.open(model), asked, spec):
                parts.append(part)
                task.advance(part.height)
        return distilled_sentences(sentences, pl.concat(parts), ALPHA, settings.select.beta)
