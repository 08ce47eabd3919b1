"""Stage ``mix``: the student begins, the teacher takes over where it drifts (arXiv 2601.09088).

The student of the training before answers training questions; its answer is capped at a multiple of the
teacher's response to the same question. An answer that hits the cap has drifted: it is cut at a random place
in its later part, and the teacher goes on from there. Whole responses that pass the recipe's filters are
trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from operator import add
from typing import ClassVar

import polars as pl
from pydantic import JsonValue

from dasd.base.chosen_lengths import longest_chosen
from dasd.base.frames import count_rows, kept_set
from dasd.base.records import ContinueRequest, SampleRequest, SamplingSpec
from dasd.base.schemas import VERDICTS
from dasd.base.seeds import seed_of, uniform
from dasd.models.files import model_identity
from dasd.models.tokens.chat import ChatTokenizer
from dasd.models.tokens.think_opening import Reading
from dasd.pipeline.stages.cuts import cut_end
from dasd.pipeline.stages.drifted import Drifted
from dasd.pipeline.work import fingerprints
from dasd.pipeline.work.context_room import least_room, no_room, prompts_of
from dasd.pipeline.work.feeding import asking_for, generate
from dasd.pipeline.work.judging import Judge, reasons
from dasd.pipeline.work.requests import sample_id, sample_requests
from dasd.pipeline.work.stage import StageContext
from dasd.pipeline.work.students import student_after, student_identity, student_name
from dasd.pipeline.work.units import Unit, finish_rows, share, units, verdict_rows
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry
from dasd.recipe.stage_settings import MixedPolicyStage
from dasd.store import Summaries
from dasd.store.question_lookup import QuestionLookup

__all__ = ["MixStage"]

LENGTH_BINS = 5
_STUDENT_UNITS = "student-"
"""Begins the keys of units whose rows are the student's answers."""
_TEACHER_UNITS = "teacher-"
"""Begins the keys of units whose rows are whole responses."""


@dataclass(frozen=True, slots=True)
class MixStage:
    """Writes SAMPLES and VERDICTS.

    The student's answers have ``prefix_end`` 0 and, if they ended by themselves, the verdict ``not_drifted``;
    whole responses that the teacher finished have the verdict of the filters.
    """

    recipe: Recipe
    registry: Registry
    stage: MixedPolicyStage
    samples: str
    """Stage of the off-policy samples before."""
    select: str
    """Stage whose verdicts name the teacher's response to each question."""
    scores: str
    """Stage of their scores, which hold their length in the student's tokens."""
    previous: str | None
    """The training before, whose checkpoint answers; None: the recipe's student does."""
    kind: str = field(default="mix", init=False)
    frame: ClassVar[str] = "samples"
    passes_on: ClassVar[str | None] = "kept"

    @property
    def name(self) -> str:
        """``mix-`` and the training's name."""
        return f"mix-{self.stage.name}"

    @property
    def needs(self) -> tuple[str, ...]:
        """Questions, the off-policy responses, and the training before."""
        named = ("questions", self.samples, self.select, self.scores, self.previous)
        return tuple(name for name in named if name is not None)

    def settings(self) -> Mapping[str, JsonValue]:
        """This stage's section less what only its training needs, both models, filters, seed."""
        settings = self.recipe.settings
        return {
            "stage": self.stage.model_dump(mode="json", exclude={"trainer", "balance", "train_prefix"}),
            "max_length": settings.trainer_for(self.stage).max_length,
            "top_p": settings.sampling.top_p,
            "max_tokens": settings.sampling.max_tokens,
            "chunk": settings.sampling.chunk,
            "filters": fingerprints.filters_settings(settings.filters, self.registry),
            "teacher": fingerprints.engine_settings(settings.teacher, self.registry),
            "student": fingerprints.engine_settings(settings.student, self.registry),
            "seed": settings.seed,
        }

    def settings_by_needs(self, summaries: Summaries) -> Mapping[str, JsonValue]:
        """The verifiers that the questions name, where answers are filtered."""
        if not self.recipe.settings.filters.answer:
            return {}
        return {"verifiers": fingerprints.verifier_versions(self.registry, summaries, "train")}

    def run(self, context: StageContext) -> None:
        """Student's answers, then the teacher's continuations, then verdicts."""
        asked = self._asked(context)
        self._answer(context, asked)
        lookup = QuestionLookup.of(context.inputs.rows("questions", "questions"), context.writer.scratch())
        drifted = Drifted.of(context.writer.rows("samples", _STUDENT_UNITS))
        full = self._full(drifted, lookup)
        self._continue(context, drifted.without(full), lookup)
        self._judge(context, full, lookup)
        self._report(context, asked)

    @property
    def _student_stage(self) -> str:
        return f"{self.name}-student"

    def _asked(self, context: StageContext) -> pl.DataFrame:
        """Questions with a selected response: their row, question_id, its length in the student's tokens."""
        selected = kept_set(context.inputs.frame(self.select, "verdicts"))
        scores = context.inputs.frame(self.scores, "scores")
        lengths = longest_chosen(context.inputs.frame(self.samples, "samples"), scores, selected)
        questions = context.inputs.frame("questions", "questions").select("question_id").with_row_index("row")
        asked = questions.join(lengths, on="question_id", maintain_order="left")
        rows = asked.collect(engine="streaming").sort("row")
        if self.stage.questions is None or rows.height <= self.stage.questions:
            return rows
        seed = self.recipe.settings.seed
        draws = pl.Series([uniform(self.name, seed, question) for question in rows.get_column("question_id")])
        return rows.filter(draws.rank("ordinal") <= self.stage.questions)

    def _answer(self, context: StageContext, asked: pl.DataFrame) -> None:
        settings = self.recipe.settings
        model = student_after(context, self.previous)
        named = student_name(self.recipe, self.previous)
        questions = context.inputs.rows("questions", "questions").select(["question_id", "messages"])
        identity = student_identity(self.recipe, self.previous)

        def requests(unit: Unit) -> Sequence[SampleRequest]:
            rows = asked.slice(unit.start, unit.size)
            caps = [max(1, ceil(self.stage.cap * tokens)) for tokens in rows.get_column("tokens")]
            taken = questions.take(rows.get_column("row"))
            return sample_requests(taken, identity, self.stage.temperature, 1, settings.seed, caps)

        sampling = settings.sampling
        spec = SamplingSpec(self._student_stage, self.stage.temperature, sampling.top_p, sampling.max_tokens)
        generate(
            context,
            f"{self.name}: student answers",
            asking_for(
                requests,
                units(asked.height, sampling.chunk, _STUDENT_UNITS),
                lambda: context.models.open(model),
                lambda student, asked, on_refused: (
                    rows.with_columns(stage=pl.lit(spec.stage), model=pl.lit(named))
                    for rows in student.sample(asked, replace(spec, on_refused=on_refused))
                ),
            ),
            "samples",
        )

    def _requests(self, drifted: pl.DataFrame, lookup: QuestionLookup) -> list[ContinueRequest]:
        """``drifted``: sample_id, question_id, text and token_ends of some answers."""
        settings = self.recipe.settings
        reading = Reading.of(settings.teacher, settings.student).back()
        teacher = model_identity(settings.teacher)
        requests = []
        for answer, question, text, token_ends in drifted.iter_rows():
            draw = uniform("cut", settings.seed, answer)
            end = cut_end(text, token_ends, self.stage.cut_from, draw)
            identity = sample_id(
                question, f"{teacher} after {answer}", self.stage.temperature, 0, settings.seed
            )
            requests.append(
                ContinueRequest(
                    sample_id=identity,
                    question_id=question,
                    messages=lookup.messages[question],
                    candidate=0,
                    seed=seed_of(identity, settings.seed),
                    prefix=reading.view(text.encode()[:end].decode()).text,
                )
            )
        return requests

    def _full(self, drifted: Drifted, lookup: QuestionLookup) -> dict[str, str]:
        """sample_ids of answers whose prompt and prefix leave the teacher no room to go on, with what is to be said.

        None where the teacher's context isn't known here: its engine is left to judge.
        """
        settings = self.recipe.settings
        prompts = prompts_of(settings.teacher) if drifted.height else None
        if prompts is None:
            return {}
        room = least_room(settings.sampling.max_tokens, prompts.context)
        chat = ChatTokenizer.load(settings.teacher)
        what = "its prompt with the student's answer"
        found = {}
        for rows in drifted.batches():
            requests = self._requests(rows, lookup)
            asked = prompts.count([each.messages for each in requests])
            given = chat.encode_responses([each.prefix for each in requests], [False] * len(requests))
            for answer, total in zip(rows["sample_id"], map(add, asked, map(len, given)), strict=True):
                if total + room > prompts.context:
                    found[answer] = no_room("teacher", what, total, prompts.context, room)
        return found

    def _continue(self, context: StageContext, drifted: Drifted, lookup: QuestionLookup) -> None:
        settings = self.recipe.settings
        sampling = settings.sampling
        spec = SamplingSpec(self.name, self.stage.temperature, sampling.top_p, sampling.max_tokens)

        generate(
            context,
            f"{self.name}: teacher continues",
            asking_for(
                lambda unit: self._requests(drifted.rows(unit.start, unit.stop), lookup),
                units(drifted.height, sampling.chunk, _TEACHER_UNITS),
                lambda: context.models.open(settings.teacher),
                lambda teacher, asked, on_refused: teacher.continue_(
                    asked, replace(spec, on_refused=on_refused)
                ),
                size=lambda request: len(request.prefix),
            ),
            "samples",
        )

    def _judge(self, context: StageContext, full: Mapping[str, str], lookup: QuestionLookup) -> None:
        """Verdicts; ``full``: of drifted answers that leave the teacher no room, why."""
        samples = context.writer.read("samples")
        ended = samples.filter(
            (pl.col("stage") == self._student_stage) & (pl.col("finish_reason") != "length")
        )
        if "not-drifted" not in context.writer.done():
            rows = ended.select(
                "sample_id",
                stage=pl.lit(self.name),
                kept=pl.lit(value=False),
                reason=pl.lit("not_drifted"),
                detail=pl.lit("the student's answer ended by itself"),
            ).collect()
            finish_rows(
                context, "verdicts", rows.select(list(VERDICTS.columns)), Unit("not-drifted", 0, rows.height)
            )
        if full and "no-room" not in context.writer.done():
            answers = pl.Series(list(full), dtype=pl.String)
            rows = verdict_rows(answers, self.name, ["no_room"] * len(full), list(full.values()))
            finish_rows(context, "verdicts", rows, Unit("no-room", 0, rows.height))
            context.console.warn(
                f"{self.name}: {len(full)} answers of the student are set aside: {next(iter(full.values()))}"
            )
        whole = context.writer.rows("samples", _TEACHER_UNITS)
        max_length = self.recipe.settings.trainer_for(self.stage).max_length
        judge = Judge(self.recipe, self.registry, max_length, lookup, self.name)
        for unit in units(whole.height, self.recipe.settings.sampling.chunk, "judge-"):
            if unit.key not in context.writer.done():
                finish_rows(context, "verdicts", judge.verdicts(unit.rows(whole)), unit)

    def _report(self, context: StageContext, asked: pl.DataFrame) -> None:
        answers = (
            context.writer.read("samples")
            .filter(pl.col("stage") == self._student_stage)
            .select("question_id", drifted=pl.col("finish_reason") == "length")
            .collect()
            .join(asked.select("question_id", "tokens"), on="question_id")
        )
        drifted = int(answers.get_column("drifted").sum())
        verdicts = context.writer.read("verdicts")
        kept = count_rows(verdicts.filter(pl.col("kept")))
        context.writer.summarise(
            {
                "answered": answers.height,
                "drifted": drifted,
                "drifted_share": share(drifted, answers.height),
                "kept": kept,
                "kept_share": share(kept, drifted),
                "dropped": dict(reasons(verdicts)),
                "drifted_by_length": [*drift_by_length(answers)],
            }
        )
        if not kept:
            why = "no answer of the student hit its cap" if not drifted else f"all {drifted} were dropped"
            context.console.warn(f"{self.name}: {why}, so there is nothing mixed to train on")


def drift_by_length(answers: pl.DataFrame) -> Iterator[JsonValue]:
    """Share of drifted answers by the teacher's length in the student's tokens; bins of about equal size."""
    ordered = answers.sort("tokens", "question_id")
    size = ceil(ordered.height / LENGTH_BINS) or 1
    for start in range(0, ordered.height, size):
        part = ordered.slice(start, size)
        lengths = part.get_column("tokens").to_list()
        drifted = int(part.get_column("drifted").sum())
        yield {
            "tokens_from": lengths[0],
            "tokens_to": lengths[-1],
            "answered": part.height,
            "drifted_share": share(drifted, part.height),
        }
