"""A few of the distilled student's own answers, scored by three models for the report.

The last evaluation's answers are those of the last checkpoint. Teacher, student before distillation and distilled
student score the same text, each behind its own prompt; one engine is open at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from dasd.base.records import Message, ScoringSpec
from dasd.base.schemas import ANSWER_SENTENCES, REFUSED, SCORES
from dasd.errors import BackendError, InputError, PluginError
from dasd.models.pool import backend_of
from dasd.models.tokens.think_opening import Reading
from dasd.pipeline.stages.candidates import compared, sentences_frame
from dasd.pipeline.work.stage import StageContext
from dasd.pipeline.work.students import student_after
from dasd.recipe.model_settings import ModelSettings
from dasd.recipe.settings import RecipeSettings
from dasd.recipe.stage_settings import OffPolicyStage
from dasd.results.report.answers import OwnAnswers, answer_id, drawn_answers
from dasd.results.report.distilled import ALPHA, distilled_sentences
from dasd.store.question_lookup import QuestionLookup

__all__ = ["own_answers", "samples_teacher"]

UNIT = "answers"
_FRAME = ANSWER_SENTENCES.name


def samples_teacher(settings: RecipeSettings) -> bool:
    """Whether the run itself has the teacher answer or go on, so that its engine is one that this machine can run."""
    heldout = bool(settings.questions.eval) and settings.evaluation.heldout > 0
    return settings.asks_teacher and (
        heldout
        or any(not isinstance(stage, OffPolicyStage) or not stage.samples for stage in settings.stages)
    )


def own_answers(context: StageContext, checkpoint: str | None, evaluated: bool) -> OwnAnswers:
    """Draw answers of the evaluation of ``checkpoint`` (a training stage's name) and score them, or say why not.

    ``evaluated``: whether the run has that evaluation. Written as ANSWER_SENTENCES; what an engine refuses is set
    aside in REFUSED and counted. A teacher that fails costs the figures alone: the run is at its end.
    """
    settings = context.recipe.settings
    backend = backend_of(context.registry, settings.teacher)
    if checkpoint is None:
        return OwnAnswers(why_not="no model was distilled.")
    if not evaluated:
        return OwnAnswers(why_not="there are no evaluation questions, so the student answered none.")
    if not samples_teacher(settings):
        return OwnAnswers(
            why_not="the teacher answers nothing in this run, and isn't loaded to score a few answers."
        )
    if not backend.gives_logprobs:
        return OwnAnswers(why_not=f"{backend.label} gives no log-probabilities.")
    answers = context.inputs.frame(f"evaluate-{checkpoint}", "eval").filter(pl.col("text") != "")
    graded = answers.select(answer_id(), "correct").collect()
    if not graded.height:
        return OwnAnswers(why_not="the student's evaluation holds no answer that was graded.")
    if UNIT not in context.writer.done():
        drawn = drawn_answers(graded, settings.seed)
        texts = answers.select(answer_id(), "question_id", "text", "finish_reason").collect()
        rows = drawn.join(texts, on="sample_id", how="left", maintain_order="left")
        try:
            sentences, refused = _Scoring.of(context, checkpoint).sentences(rows)
        except _TeacherFailedError as error:
            context.console.warn(f"{context.name}: the teacher can't score the student's answers: {error}")
            return OwnAnswers(why_not=f"the teacher can't score them: {str(error).rstrip('.')}.")
        for name, frame in ((_FRAME, sentences), (REFUSED.name, refused)):
            if frame.height:
                context.writer.append(name, frame, key=UNIT)
        context.writer.finish_unit(UNIT)
    sentences = context.writer.read(_FRAME).collect()
    refused = context.writer.read(REFUSED.name).collect()
    if refused.height:
        context.writer.summarise({"refused": refused.height})
        context.console.warn(
            f"{context.name}: {refused.height} of the student's answers couldn't be scored and are left out of the "
            f"figures, the first because {refused['reason'][0]}"
        )
    return OwnAnswers(
        checkpoint,
        sentences,
        right=int(graded["correct"].sum()),
        wrong=int((~graded["correct"]).sum()),
        refused=refused.height,
        alpha=ALPHA,
        beta=settings.select.beta,
        why_not="" if sentences.height else _nothing(refused),
    )


class _TeacherFailedError(Exception):
    """The teacher's engine can't be opened, or can't score."""


@dataclass(slots=True)
class _Scoring:
    """Scores the same answers under one model after the other."""

    context: StageContext
    distilled: ModelSettings
    messages: Mapping[str, Sequence[Message]]
    back: Reading
    """The student's answers as the teacher reads them."""
    refused: dict[str, str] = field(default_factory=dict)
    """Reason by sample_id."""

    @classmethod
    def of(cls, context: StageContext, checkpoint: str) -> _Scoring:
        settings = context.recipe.settings
        return cls(
            context,
            student_after(context, f"train-{checkpoint}"),
            QuestionLookup.of(
                context.inputs.rows("questions", "questions"), context.writer.scratch()
            ).messages,
            Reading.of(settings.teacher, settings.student).back(),
        )

    def sentences(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """ANSWER_SENTENCES and REFUSED rows. ``rows``: sample_id, question_id, correct, text, finish_reason.

        Raises _TeacherFailedError. The teacher comes first, as most goes wrong there.
        """
        settings = self.context.recipe.settings
        # No tokens are kept of an answer: each model tokenises the text itself.
        answers = rows.with_columns(
            token_ids=pl.lit([], pl.List(pl.UInt32)),
            token_ends=pl.lit([], pl.List(pl.UInt32)),
            tokenizer_hash=pl.lit(""),
        )
        own = Reading("", "")  # each student reads what a student wrote
        try:
            info = self.context.models.open(settings.teacher).info
            if info.logprobs_mode == "none":
                raise BackendError(
                    f"{info.model} on {info.engine} {info.engine_version} gives no log-probabilities"
                )
            teacher = self._scores("teacher", settings.teacher, self.back, answers)
        except (BackendError, InputError, PluginError) as error:
            raise _TeacherFailedError(str(error)) from error
        student = self._scores("student", settings.student, own, answers)
        distilled = self._scores("distilled student", self.distilled, own, answers)
        left = self._left(rows)
        beta = settings.select.beta
        samples = left.select("sample_id", "text").join(
            teacher, on="sample_id", how="inner", maintain_order="left"
        )
        found = sentences_frame(compared(samples, self._shared(left, student), beta), beta)
        found = distilled_sentences(found, self._shared(left, distilled), ALPHA, beta)
        graded = found.join(rows.select("sample_id", "correct"), on="sample_id", maintain_order="left")
        reasons = pl.DataFrame(
            [*self.refused.items()], schema={"sample_id": pl.String, "reason": pl.String}, orient="row"
        )
        refused = reasons.join(rows, on="sample_id", maintain_order="left")
        return graded.select(list(ANSWER_SENTENCES.columns)), refused.select(list(REFUSED.columns))

    def _scores(
        self, who: str, model: ModelSettings, reading: Reading, answers: pl.DataFrame
    ) -> pl.DataFrame:
        """SCORES rows of what no model has refused so far."""
        rows = self._left(answers)

        def refuse(sample_id: str, reason: str) -> None:
            self.refused[sample_id] = f"{who}: {reason}"

        parts = [SCORES.empty()]
        if rows.height:
            spec = ScoringSpec(self.context.name, model.token_budget, refuse)
            description = f"{self.context.name}: {who} scores the student's answers"
            with self.context.console.task(description, rows.height, "answers") as task:
                asked = reading.to_score(rows, self.messages)
                for part in reading.scored(self.context.models.open(model), asked, spec):
                    parts.append(part)
                    task.advance(part.height)
        return pl.concat(parts)

    def _left(self, answers: pl.DataFrame) -> pl.DataFrame:
        return answers.filter([sample_id not in self.refused for sample_id in answers["sample_id"]])

    def _shared(self, answers: pl.DataFrame, scores: pl.DataFrame) -> pl.DataFrame:
        """A student's scores in the order of the answers, without what the teacher's prompt holds for it."""
        facts = answers.select("sample_id", "text", "finish_reason")
        rows = facts.join(scores, on="sample_id", how="inner", maintain_order="left")
        return self.back.shared(rows).select(list(SCORES.columns))


def _nothing(refused: pl.DataFrame) -> str:
    """Why there are no sentences."""
    if not refused.height:
        return "the student's answers hold no sentence."
    return f"no answer could be scored by all three models; the first because {refused['reason'][0].rstrip('.')}."
