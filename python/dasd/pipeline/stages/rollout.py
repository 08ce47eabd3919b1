"""Stage ``rollout``: the student of now answers training questions, and the teacher scores every token of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import polars as pl
from pydantic import JsonValue

from dasd.base.frames import only
from dasd.base.records import SampleRequest, SamplingSpec, ScoringSpec
from dasd.models.tokens.think_opening import Reading
from dasd.pipeline.stages.quotas import draws
from dasd.pipeline.stages.sample import samples_summary
from dasd.pipeline.work import fingerprints
from dasd.pipeline.work.feeding import Asking, asking_for, generate
from dasd.pipeline.work.grading import Grader
from dasd.pipeline.work.opened_teacher import check_rounds
from dasd.pipeline.work.requests import unit_requests
from dasd.pipeline.work.stage import StageContext
from dasd.pipeline.work.students import student_after, student_identity, student_name
from dasd.pipeline.work.units import Unit, share, units
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry
from dasd.plugins.roles import OpenedTeacher
from dasd.recipe.stage_settings import OnPolicyStage
from dasd.store import Summaries
from dasd.store.question_lookup import QuestionLookup

__all__ = ["RolloutStage"]

_ANSWERS = "answer-"
"""Begins the keys of units whose rows are the student's answers."""
_SCORES = "score-"
"""Begins the keys of units whose rows are the teacher's scores of them."""


@dataclass(frozen=True, slots=True)
class RolloutStage:
    """Writes SAMPLES of the student, and SCORES or TOP_SCORES of the teacher with ``token_ends`` in its text."""

    recipe: Recipe
    registry: Registry
    stage: OnPolicyStage
    round: int
    """Counted from 1."""
    previous: str | None
    """The training before, whose checkpoint answers; None: the recipe's student does."""
    kind: str = field(default="rollout", init=False)
    frame: ClassVar[str] = "samples"
    passes_on: ClassVar[str | None] = "responses"

    @property
    def name(self) -> str:
        """``rollout-``, the training's name, and the round."""
        return f"rollout-{self.stage.name}-{self.round}"

    @property
    def needs(self) -> tuple[str, ...]:
        """Questions, and the training before."""
        return ("questions",) if self.previous is None else ("questions", self.previous)

    @property
    def scores(self) -> str:
        """Frame of the teacher's scores."""
        return "scores" if self.top == 0 else "top_scores"

    @property
    def top(self) -> int:
        """Likeliest tokens that the loss needs."""
        return 0 if self.stage.loss == "sampled-reverse-kl" else self.stage.top_k

    def settings(self) -> Mapping[str, JsonValue]:
        """Who is asked how, and both models."""
        settings = self.recipe.settings
        # A checkpoint's content comes with the training that this stage needs.
        of_student = fingerprints.engine_settings if self.previous is None else fingerprints.backend_settings
        return {
            "round": self.round,
            "questions": self.stage.questions,
            "candidates": self.stage.candidates,
            "temperature": self.stage.temperature,
            "max_tokens": self._max_tokens,
            "top": self.top,
            "chunk": settings.sampling.chunk,
            "teacher": fingerprints.engine_settings(settings.teacher, self.registry),
            "student": of_student(settings.student, self.registry),
            "seed": settings.seed,
        }

    def settings_by_needs(self, summaries: Summaries) -> Mapping[str, JsonValue]:
        """The verifiers that the questions name: a summary tells how many answers are right."""
        return {"verifiers": fingerprints.verifier_versions(self.registry, summaries, "train")}

    def run(self, context: StageContext) -> None:
        """Answers, then scores, then what they tell of the student."""
        asked = self._asked(context)
        self._answer(context, asked)
        lookup = QuestionLookup.of(context.inputs.rows("questions", "questions"), context.writer.scratch())
        self._score(context, lookup)
        context.writer.summarise(
            {"questions": len(asked), **self._summary(context), **self._graded(context, lookup)}
        )

    @property
    def _max_tokens(self) -> int:
        return self.stage.max_tokens or self.recipe.settings.sampling.max_tokens

    def _asked(self, context: StageContext) -> pl.Series:
        """Rows of this round's questions: the next ones of all training questions, in an order that the seed draws."""
        questions = context.inputs.frame("questions", "questions").select("question_id", "split")
        rows = questions.with_row_index("row").filter(pl.col("split") == "train").collect()
        seed, total = self.recipe.settings.seed, rows.height
        count = min(self.stage.questions or total, total)
        order = draws(rows.get_column("question_id"), f"rollout-{self.stage.name}", seed).arg_sort()
        first = (self.round - 1) * count
        place = pl.int_range(first, first + count, eager=True) % total
        return rows.get_column("row").gather(order.gather(place)).sort()

    def _answer(self, context: StageContext, asked: pl.Series) -> None:
        settings = self.recipe.settings
        model = student_after(context, self.previous)
        named = student_name(self.recipe, self.previous)
        identity = student_identity(self.recipe, self.previous)
        questions = context.inputs.rows("questions", "questions").select(["question_id", "messages"])
        each, temperature = self.stage.candidates, self.stage.temperature

        def requests(unit: Unit) -> Sequence[SampleRequest]:
            return unit_requests(unit, questions, asked, identity, temperature, each, settings.seed)

        spec = SamplingSpec(self.name, temperature, 1.0, self._max_tokens)
        generate(
            context,
            f"{self.name}: student answers",
            asking_for(
                requests,
                units(len(asked) * each, settings.sampling.chunk, _ANSWERS),
                lambda: context.models.open(model),
                lambda student, asked, on_refused: (
                    rows.with_columns(model=pl.lit(named))
                    for rows in student.sample(asked, replace(spec, on_refused=on_refused))
                ),
            ),
            "samples",
        )

    def _score(self, context: StageContext, lookup: QuestionLookup) -> None:
        settings = self.recipe.settings
        answers = context.writer.rows("samples", _ANSWERS)
        of_unit = answers.select(["sample_id", "question_id"])
        spec = ScoringSpec(self.name, settings.teacher.token_budget, top=self.top)
        reading = Reading.of(settings.teacher, settings.student).back()

        def teacher() -> OpenedTeacher:
            opened = context.models.open(settings.teacher)
            check_rounds(settings, opened.info)
            return opened

        generate(
            context,
            f"{self.name}: teacher scores",
            Asking(
                work=units(answers.height, settings.sampling.chunk, _SCORES),
                questions=lambda unit: dict(unit.rows(of_unit).iter_rows()),
                requests=lambda unit, left: reading.to_score(only(unit.rows(answers), left), lookup.messages),
                teacher=teacher,
                ask=lambda opened, asked, on_refused: reading.scored(
                    opened, asked, replace(spec, on_refused=on_refused)
                ),
                size=lambda each: len(each.request.text),
            ),
            self.scores,
        )

    def _summary(self, context: StageContext) -> dict[str, JsonValue]:
        """Lengths and cut-off rate of the answers, and the distance to the teacher that they estimate."""
        answers = context.writer.read("samples")
        own = answers.select("sample_id", own=pl.col("logprobs").list.sum().cast(pl.Float64), tokens=_TOKENS)
        theirs = context.writer.read(self.scores).select(
            "sample_id", theirs=pl.col("logprobs").list.sum().cast(pl.Float64)
        )
        figures = own.join(theirs, on="sample_id").select(
            scored=pl.len(),
            nats=(pl.col("own") - pl.col("theirs")).sum(),
            tokens=pl.col("tokens").sum(),
            surprise=-pl.col("own").sum(),
        )
        scored, nats, tokens, surprise = figures.collect(engine="streaming").row(0)
        return {
            **samples_summary(answers),
            "scored": scored,
            "reverse_kl_nats_per_response": share(nats, scored),
            "reverse_kl_nats_per_token": share(nats, tokens),
            # Of draws from the student itself; a tempered one's are not.
            "entropy_nats_per_token": share(surprise, tokens) if self.stage.temperature == 1 else None,
        }

    def _graded(self, context: StageContext, lookup: QuestionLookup) -> dict[str, JsonValue]:
        """Share of right answers among those whose questions have a verifier."""
        grader, right, graded = Grader(self.registry), 0, 0
        answers = context.writer.rows("samples", _ANSWERS).select(["question_id", "text"])
        for rows in answers.batches(4096):
            found = grader.correct_rows(rows.iter_rows(), lookup.answers).drop_nulls()
            right, graded = right + int(found.sum()), graded + len(found)
        known: dict[str, Any] = {"graded": graded, "accuracy": share(right, graded)}
        return known if graded else {}


_TOKENS = pl.col("token_ids").list.len()
