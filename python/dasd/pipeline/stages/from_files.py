"""Stage ``sample`` of responses that lie in files: they take the place of sampling the teacher.

Files are read twice. The first time every row is checked and the good ones are put in the order of the
questions; the second time they are written unit by unit, and those without log-probabilities are scored by the
teacher where the selector compares them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import ClassVar

import polars as pl
from pydantic import JsonValue

from dasd.base.records import ScoringSpec
from dasd.base.schemas import SAMPLES
from dasd.curation.sources.values import ValueFile
from dasd.errors import InputError
from dasd.models.files import model_identity
from dasd.models.pool import backend_of
from dasd.models.tokens.chat import ChatTokenizer
from dasd.models.tokens.think_opening import OPEN
from dasd.pipeline.stages.from_files_rows import GivenReader
from dasd.pipeline.stages.from_files_scores import Given, with_scores
from dasd.pipeline.stages.given_places import Places, find_places
from dasd.pipeline.stages.sample import samples_summary
from dasd.pipeline.work import fingerprints
from dasd.pipeline.work.feeding import Asking, generate
from dasd.pipeline.work.opened_teacher import logprobs_reader
from dasd.pipeline.work.question_sources import report_set_aside
from dasd.pipeline.work.stage import StageContext
from dasd.pipeline.work.units import finish_rows, units
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry
from dasd.recipe.stage_settings import OffPolicyStage
from dasd.store.question_lookup import QuestionLookup

__all__ = ["GivenSamplesStage"]

_BATCH = 4096
"""Questions that are read together."""


@dataclass(frozen=True, slots=True)
class GivenSamplesStage:
    """Writes SAMPLES out of files, question by question."""

    recipe: Recipe
    registry: Registry
    name: str
    stage: OffPolicyStage
    kind: str = field(default="sample", init=False)
    frame: ClassVar[str] = "samples"
    passes_on: ClassVar[str | None] = "responses"
    needs: tuple[str, ...] = field(default=("questions",), init=False)

    @property
    def _scores(self) -> bool:
        """Whether responses without log-probabilities get the teacher's."""
        settings = self.recipe.settings
        return (
            logprobs_reader(self.registry, settings) is not None
            and backend_of(self.registry, settings.teacher).gives_logprobs
        )

    def settings(self) -> Mapping[str, JsonValue]:
        """The files' content, what rows without a column of their own get, and the teacher that checks them."""
        settings = self.recipe.settings
        teacher = (
            fingerprints.engine_settings(settings.teacher, self.registry)
            if self._scores
            else fingerprints.model_settings(settings.teacher)
        )
        return {
            "files": fingerprints.files_settings(self.stage.samples, f"samples of stage {self.stage.name!r}"),
            "teacher": teacher,
            "scores": self._scores,
            "temperature": self.stage.temperature,
            "top_p": settings.sampling.top_p,
            "chunk": settings.sampling.chunk,
        }

    def run(self, context: StageContext) -> None:
        """Check all rows, then write them, ``sampling.chunk`` a unit.

        Raises InputError for a file that is missing, torn or empty, for one of which more than half of the
        rows can't be used, and for responses whose log-probabilities are needed and can't be had.
        """
        settings = self.recipe.settings
        questions = context.inputs.rows("questions", "questions")
        chat = ChatTokenizer.load(settings.teacher)
        reader = GivenReader(
            questions.select(["question_id", "messages", "split"]).batches(_BATCH),
            context.inputs.frame("questions", "set_aside").collect(),
            settings.questions.system_prompt,
            chat,
            self.name,
            {
                "temperature": self.stage.temperature,
                "top_p": settings.sampling.top_p,
                "model": settings.teacher.model,
            },
            model_identity(settings.teacher),
        )
        files = [ValueFile(Path(path), "response") for path in self.stage.samples]
        places, set_aside = find_places(files, reader)
        self._refuse_unknown_logprobs(files, places)
        report_set_aside(context, set_aside, f"set-aside-{self.name}.jsonl")
        if places.doubled:
            context.console.warn(
                f"{self.name}: {places.doubled} of {len(places)} responses begin with the {OPEN} that the chat "
                f"template of {settings.teacher.model} writes into the prompt; they are read without it"
            )
        work = units(len(places), settings.sampling.chunk)
        description = f"{self.name}: responses from files"
        rows_of = partial(places.rows, files, reader)
        if self._scores and len(places.bare):
            messages = QuestionLookup.of(questions, context.writer.scratch()).messages
            made = lru_cache(maxsize=1)(rows_of)  # a unit's questions are asked for, then its requests
            asking = Asking(
                work,
                lambda unit: {str(row["sample_id"]): str(row["question_id"]) for row in made(unit)},
                lambda unit, left: [Given(row) for row in made(unit) if row["sample_id"] in left],
                lambda: context.models.open(settings.teacher),
                lambda teacher, given, on_refused: with_scores(
                    teacher,
                    given,
                    chat,
                    messages,
                    ScoringSpec(self.name, settings.teacher.token_budget, on_refused),
                ),
            )
            generate(context, description, asking, "samples")
        else:
            done = context.writer.done()
            with context.console.task(description, len(places), "responses") as task:
                for unit in work:
                    if unit.key not in done:
                        rows = pl.DataFrame(rows_of(unit), schema=dict(SAMPLES.columns))
                        finish_rows(context, "samples", rows, unit)
                    task.advance(unit.size)
        context.writer.summarise(
            {
                "questions": places.questions,
                **samples_summary(context.writer.read("samples")),
                "files": len(files),
                "tags_taken_off": places.doubled,
                "set_aside": sum(len(each.rows) for each in set_aside),
                "scored_by_teacher": len(places.bare) if self._scores else 0,
            }
        )

    def _refuse_unknown_logprobs(self, files: Sequence[ValueFile], places: Places) -> None:
        settings = self.recipe.settings
        reader = logprobs_reader(self.registry, settings)
        bare = places.bare
        if not len(bare) or self._scores or reader is None:
            return
        label = backend_of(self.registry, settings.teacher).label
        raise InputError(
            f"{files[places.file[bare[0]]].path}, row {places.row[bare[0]]}: no log-probabilities "
            f"({len(bare)} of {len(places)} responses). {reader[0]}, and {label} can't score them; wanted "
            f"columns token_ids and logprobs, or a teacher.backend that scores; or {reader[1]}"
        )
