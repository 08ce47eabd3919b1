"""Stage ``evaluate``: answers of one checkpoint, and its distance to the teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import ClassVar

import polars as pl
from pydantic import JsonValue

from dasd.base.frames import only
from dasd.base.records import ScoringSpec
from dasd.evaluation.terms import all_terms
from dasd.models.tokens.think_opening import Reading
from dasd.pipeline.stages.metrics import answer_metrics, kl_metrics, metrics_words, teacher_metrics
from dasd.pipeline.work import fingerprints
from dasd.pipeline.work.answering import answer_questions, ungraded
from dasd.pipeline.work.feeding import Asking, generate
from dasd.pipeline.work.grading import Grader
from dasd.pipeline.work.stage import StageContext
from dasd.pipeline.work.students import student_after, student_name
from dasd.pipeline.work.units import units
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry
from dasd.recipe.model_settings import ModelSettings
from dasd.store import Summaries
from dasd.store.question_lookup import QuestionLookup

__all__ = ["EvaluateStage"]


@dataclass(frozen=True, slots=True)
class EvaluateStage:
    """Writes EVAL, SCORES of the teacher's held-out responses, and METRICS.

    ``checkpoint``: ``before``, or the training's name. The benchmarks are the sources of the evaluation
    questions.
    """

    recipe: Recipe
    registry: Registry
    checkpoint: str
    train: str | None
    """The training whose checkpoint is evaluated; None: the student as it is."""
    heldout: str | None
    """Stage of the teacher's held-out responses; None: no KL."""
    kind: str = field(default="evaluate", init=False)
    frame: ClassVar[str] = "eval"
    passes_on: ClassVar[str | None] = None

    @property
    def name(self) -> str:
        """``evaluate-`` and the checkpoint."""
        return f"evaluate-{self.checkpoint}"

    @property
    def needs(self) -> tuple[str, ...]:
        """Questions, held-out responses, the checkpoint."""
        return tuple(name for name in ("questions", self.heldout, self.train) if name is not None)

    def settings(self) -> Mapping[str, JsonValue]:
        """How each benchmark is evaluated and by which evaluator, the student's backend."""
        settings = self.recipe.settings
        # A checkpoint's content comes with the training that this stage needs.
        of_student = fingerprints.engine_settings if self.train is None else fingerprints.backend_settings
        return {
            "sampling": {"temperature": settings.evaluation.temperature, "top_p": settings.evaluation.top_p},
            "benchmarks": [
                {**asdict(how), "versions": self.registry.versions("evaluator", how.evaluator)}
                for how in all_terms(settings, self.registry)
            ],
            "student": of_student(settings.student, self.registry),
            "chunk": settings.sampling.chunk,
            "seed": settings.seed,
        }

    def settings_by_needs(self, summaries: Summaries) -> Mapping[str, JsonValue]:
        """The verifiers that the questions name."""
        return {"verifiers": fingerprints.verifier_versions(self.registry, summaries, "eval")}

    def run(self, context: StageContext) -> None:
        """Answers, then scores, then the figures."""
        model = student_after(context, self.train)
        questions = context.inputs.frame("questions", "questions").filter(pl.col("split") == "eval").collect()
        answer_questions(context, model, questions)
        answers = context.writer.read("eval").collect()
        metrics = [answer_metrics(answers, questions, self.checkpoint)]
        if self.heldout is not None:
            metrics += self._against_teacher(context, model, questions, self.heldout)
        table = pl.concat(metrics)
        context.writer.append("metrics", table)
        figures: dict[str, JsonValue] = {
            f"{benchmark}.{metric}": [value, error]
            for checkpoint, benchmark, metric, group, value, error, _ in table.iter_rows()
            if checkpoint == self.checkpoint and group == "all"
        }
        failures = ungraded(context)
        context.writer.summarise(
            {"questions": questions.height, "answers": answers.height, **figures, **failures}
        )
        for line in metrics_words(table):
            context.console.info(f"{self.name}: {line}")
        context.console.table(
            f"{self.name}: figures and their standard errors",
            ("checkpoint", "benchmark", "metric", "value", "+-"),
            [
                (checkpoint, benchmark, metric, value, "" if error is None else error)
                for checkpoint, benchmark, metric, group, value, error, _ in table.iter_rows()
                if group == "all"
            ],
        )

    def _against_teacher(
        self, context: StageContext, model: ModelSettings, questions: pl.DataFrame, stage: str
    ) -> list[pl.DataFrame]:
        """KL on the teacher's held-out responses; before training, the teacher's own figures too."""
        settings = self.recipe.settings
        heldout = (
            context.inputs.frame(stage, "samples")
            .collect()
            .join(
                questions.select("question_id", "domain", "source"), on="question_id", maintain_order="left"
            )
        )
        asked = context.inputs.rows("questions", "questions")
        lookup = QuestionLookup.of(asked, context.writer.scratch())
        spec = ScoringSpec(self.name, settings.student.token_budget)
        reading = Reading.of(settings.teacher, settings.student)
        of_question = heldout.select("sample_id", "question_id").rows()

        named = student_name(self.recipe, self.train)
        generate(
            context,
            f"{self.name}: student scores held-out responses",
            Asking(
                work=units(len(of_question), settings.sampling.chunk, "heldout/"),
                questions=lambda unit: dict(unit.of(of_question)),
                requests=lambda unit, left: reading.to_score(
                    only(heldout.slice(unit.start, unit.size), left), lookup.messages
                ),
                teacher=lambda: context.models.open(model),
                ask=lambda student, asked, on_refused: (
                    rows.with_columns(model=pl.lit(named))
                    for rows in reading.scored(student, asked, replace(spec, on_refused=on_refused))
                ),
                size=lambda each: len(each.request.text),
            ),
            "scores",
        )
        scores = context.writer.read("scores").collect()
        comparable = heldout.filter((pl.col("logprobs_mode") == "raw") & pl.col("logprobs").is_not_null())
        if comparable.height < heldout.height:
            context.console.warn(
                f"{self.name}: {heldout.height - comparable.height} of {heldout.height} held-out responses "
                "have no raw log-probabilities; the KL leaves them out"
            )
        found = [kl_metrics(reading.shared(comparable), scores, self.checkpoint)]
        if self.train is None:
            texts = heldout.select("question_id", "text").iter_rows()
            graded = Grader(self.registry).correct_rows(texts, lookup.answers)
            found.append(teacher_metrics(heldout, scores, graded))
        return found
