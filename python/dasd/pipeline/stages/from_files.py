"""Stage ``sample`` of responses that lie in files: they take the place of sampling the teacher.

Files are read twice. The first time every row is checked and the good ones are put in the order of the
questions; the second time they are written unit by unit, and those without log-probabilities are scored by the
teacher where the selector compares them.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar

import polars as pl
from pydantic import JsonValue

from dasd.base.frames import messages_by_question
from dasd.base.records import ScoringSpec, SetAside
from dasd.base.schemas import SAMPLES
from dasd.curation.sources.values import ValueFile
from dasd.errors import InputError
from dasd.models.files import model_identity
from dasd.models.pool import backend_of
from dasd.models.tokens.chat import ChatTokenizer
from dasd.models.tokens.think_opening import OPEN
from dasd.pipeline.stages.from_files_rows import GivenReader
from dasd.pipeline.stages.from_files_scores import Given, with_scores
from dasd.pipeline.stages.sample import samples_summary
from dasd.pipeline.work import fingerprints
from dasd.pipeline.work.feeding import Asking, generate
from dasd.pipeline.work.opened_teacher import logprobs_reader
from dasd.pipeline.work.question_sources import report_set_aside
from dasd.pipeline.work.stage import StageContext
from dasd.pipeline.work.units import Unit, finish_rows, units
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry
from dasd.recipe.stage_settings import OffPolicyStage

__all__ = ["GivenSamplesStage"]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a good response lies."""

    file: int
    row: int
    question: int
    """Number of its question."""
    sample_id: str
    candidate: int
    has_logprobs: bool
    doubled: bool
    """Whether it began with the think tag that the teacher's prompt ends with; it is read without."""


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
        questions = context.inputs.frame("questions", "questions").collect()
        chat = ChatTokenizer.load(settings.teacher)
        reader = GivenReader(
            questions,
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
        question_ids = questions.get_column("question_id").to_list()
        places, set_aside = _check(files, reader, question_ids)
        self._refuse_unknown_logprobs(files, places)
        report_set_aside(context, set_aside, f"set-aside-{self.name}.jsonl")
        doubled = sum(place.doubled for place in places)
        if doubled:
            context.console.warn(
                f"{self.name}: {doubled} of {len(places)} responses begin with the {OPEN} that the chat template of "
                f"{settings.teacher.model} writes into the prompt; they are read without it"
            )
        messages = messages_by_question(questions.lazy()) if self._scores else {}
        work = units(len(places), settings.sampling.chunk)
        description = f"{self.name}: responses from files"

        def rows_of(unit: Unit, left: Container[str]) -> list[dict[str, object]]:
            return _rows(files, reader, [place for place in unit.of(places) if place.sample_id in left])

        if self._scores and not all(place.has_logprobs for place in places):
            asking = Asking(
                work,
                lambda unit: {place.sample_id: question_ids[place.question] for place in unit.of(places)},
                lambda unit, left: [Given(row) for row in rows_of(unit, left)],
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
                        everything = {place.sample_id for place in unit.of(places)}
                        rows = pl.DataFrame(rows_of(unit, everything), schema=dict(SAMPLES.columns))
                        finish_rows(context, "samples", rows, unit)
                    task.advance(unit.size)
        context.writer.summarise(
            {
                "questions": len({place.question for place in places}),
                **samples_summary(context.writer.read("samples")),
                "files": len(files),
                "tags_taken_off": doubled,
                "set_aside": sum(len(each.rows) for each in set_aside),
                "scored_by_teacher": sum(not p.has_logprobs for p in places) if self._scores else 0,
            }
        )

    def _refuse_unknown_logprobs(self, files: Sequence[ValueFile], places: Sequence[_Place]) -> None:
        settings = self.recipe.settings
        reader = logprobs_reader(self.registry, settings)
        bare = [place for place in places if not place.has_logprobs]
        if not bare or self._scores or reader is None:
            return
        label = backend_of(self.registry, settings.teacher).label
        raise InputError(
            f"{files[bare[0].file].path}, row {bare[0].row}: no log-probabilities ({len(bare)} of {len(places)} "
            f"responses). {reader[0]}, and {label} can't score them; wanted "
            f"columns token_ids and logprobs, or a teacher.backend that scores; or {reader[1]}"
        )


class _Found:
    """The good rows of all files so far."""

    def __init__(self, reader: GivenReader, questions: Sequence[str]) -> None:
        self.places: list[_Place] = []
        self._reader = reader
        self._position = {question: number for number, question in enumerate(questions)}
        self._first: dict[str, str] = {}
        self._candidates: dict[int, int] = {}

    def add(self, number: int, file: ValueFile, row: int, value: dict[str, object]) -> None:
        """Take a row of file ``number``; ValueError says why it can't be used."""
        question = self._position[self._reader.question(value)]
        candidate = self._candidates.get(question, 0)
        sample, doubled = self._reader.sample(value, candidate)
        identity = str(sample["sample_id"])
        if identity in self._first:
            raise ValueError(
                f"the same sample_id, or else all of question, model, temperature, "
                f"candidate and seed, as {self._first[identity]}"
            )
        self._first[identity] = f"row {row} of {file.path.name}"
        self._candidates[question] = candidate + 1
        self.places.append(
            _Place(
                file=number,
                row=row,
                question=question,
                sample_id=identity,
                candidate=int(str(sample["candidate"])),
                has_logprobs=sample["logprobs"] is not None,
                doubled=doubled,
            )
        )


def _check(
    files: Sequence[ValueFile], reader: GivenReader, questions: Sequence[str]
) -> tuple[list[_Place], list[SetAside]]:
    """The good rows in the order of ``questions`` and candidates, and the others of each file."""
    found = _Found(reader, questions)
    bad = [(file.path, file.read(partial(found.add, number, file))) for number, file in enumerate(files)]
    set_aside = [SetAside(path, tuple(rows)) for path, rows in bad if rows]
    return sorted(found.places, key=lambda place: (place.question, place.candidate)), set_aside


def _rows(
    files: Sequence[ValueFile], reader: GivenReader, places: Sequence[_Place]
) -> list[dict[str, object]]:
    """Rows of SAMPLES of these places, file by file."""
    found = []
    for number, file in enumerate(files):
        here = [place for place in places if place.file == number]
        values = file.take([place.row for place in here])
        for place, value in zip(here, values, strict=True):
            assert isinstance(value, dict)
            found.append(reader.sample(value, place.candidate)[0])
    return found
