"""Answers of one model to the evaluation questions, by each benchmark's own evaluator, resumed attempt by attempt."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import polars as pl
from pydantic import JsonValue

from dasd.base.progress import Task
from dasd.base.records import EvalSpec
from dasd.base.seeds import digest
from dasd.base.small_files import read_json
from dasd.evaluation.terms import EvaluationTerms, default_terms, terms_by_label
from dasd.pipeline.work.feeding import AHEAD
from dasd.pipeline.work.open_units import OpenUnits
from dasd.pipeline.work.refused import Refusals
from dasd.pipeline.work.shared_engine import SharedEngine, Work
from dasd.pipeline.work.side_by_side import Job, Post, side_by_side
from dasd.pipeline.work.stage import StageContext
from dasd.pipeline.work.units import Unit, units
from dasd.plugins.roles import Evaluator, OpenedTeacher, Teacher
from dasd.recipe.model_settings import CPU_BATCH_SIZE, ModelSettings

__all__ = ["answer_questions", "ungraded"]

FAILURES = "failures-"


@dataclass(frozen=True, slots=True)
class _Work:
    """One unit: some questions of one benchmark."""

    label: str
    how: EvaluationTerms
    questions: pl.DataFrame
    unit: Unit

    @property
    def answers(self) -> int:
        """Answers that are wanted."""
        return self.questions.height * self.how.attempts

    def attempted(self) -> list[tuple[str, int]]:
        """(question_id, attempt) of each of them."""
        questions = self.questions.get_column("question_id")
        return [(question, attempt) for question in questions for attempt in range(self.how.attempts)]

    def question_ids(self) -> dict[str, str]:
        """question_id by what the frame ``refused`` calls each of them."""
        return {_sample_id(self.label, *key): key[0] for key in self.attempted()}


def _sample_id(label: str, question_id: str, attempt: int) -> str:
    return f"{label}/{question_id}/{attempt}"


SAMPLE_ID = pl.concat_str("benchmark", "question_id", pl.col("attempt").cast(pl.String), separator="/")
"""The same of EVAL rows."""


def answer_questions(context: StageContext, model: ModelSettings, questions: pl.DataFrame) -> None:
    """Write an EVAL row for every attempt at every question that the stage doesn't have yet.

    ``questions``: QUESTIONS rows of split ``eval``. The model is opened when there is something to ask it. One that
    is kept full gets benchmarks one after the other, the next one's requests while answers of the one before are
    awaited; another one a unit, or as many units as it works on lists at a time. Each of what is asked at a time has an
    evaluator of its own. Raises PluginError where an evaluator left answers out.
    """
    done = context.writer.done()
    work = _units(context, questions)
    waiting = deque(each for each in work if each.unit.key not in done)
    total = sum(each.answers for each in work)
    left = sum(each.answers for each in waiting)
    units = OpenUnits(
        context,
        "eval",
        Refusals(context, total, lambda: {key for each in work for key in each.question_ids()}),
        SAMPLE_ID,
        partial(_keep_failures, context),
    )
    evaluators = {each.how.evaluator: _evaluator(context, each.how) for each in work}
    description = f"{context.name}: student answers"
    with (
        context.console.task(description, total, "answers", completed=total - left) as task,
        units.guarded(),
    ):
        _Answering(context, model, waiting, units, task, evaluators).run()
    units.tell()


def _evaluator(context: StageContext, how: EvaluationTerms) -> Evaluator:
    return context.registry.make_evaluator(how.evaluator, how.options)


_Opened = tuple[_Work, frozenset[str]]
"""A unit, and the sample_ids of the answers that are left of it."""
_Answers = tuple[pl.DataFrame, Counter[str]]
"""EVAL rows, and what couldn't be graded among them, by reason."""


class _Answering:
    """Has evaluators ask a model until nothing is waiting."""

    def __init__(
        self,
        context: StageContext,
        model: ModelSettings,
        waiting: deque[_Work],
        units: OpenUnits,
        task: Task,
        evaluators: Mapping[str, Evaluator],
    ) -> None:
        self._context = context
        self._model = model
        self._waiting = waiting
        self._units = units
        self._task = task
        self._evaluators = evaluators

    def run(self) -> None:
        """Ask, and write what comes."""
        first = self._following()
        if first is None:
            return
        teacher = self._context.models.open(self._model)
        if teacher.info.concurrency is not None:
            self._by_benchmarks(teacher, teacher.info.concurrency, first)
        elif teacher.info.lists > 1:
            for answers in self._by_units(teacher, first):
                self._units.take(*answers)
        else:
            each: _Opened | None = first
            while each is not None:
                for answers in self._evaluate(
                    teacher, self._evaluators[each[0].how.evaluator], [each], _at_once
                ):
                    self._units.take(*answers)
                each = self._following()

    def _following(self) -> _Opened | None:
        """The next unit of which answers are left."""
        while self._waiting:
            each, left = self._open()
            self._units.write_whole()
            if left:
                return each, left
        return None

    def _open(self) -> _Opened:
        each = self._waiting.popleft()
        left = self._units.open(each.unit, each.question_ids())
        self._task.advance(each.answers - len(left))
        return each, left

    def _by_benchmarks(self, teacher: OpenedTeacher, concurrency: int, first: _Opened) -> None:
        """Of an engine that is kept full: a call a benchmark, as many at a time as there is room for their requests."""
        begun = [first]

        def following() -> Work[_Answers] | None:
            room = self._units.requests < AHEAD * concurrency
            each = begun.pop() if begun else self._following() if room else None
            if each is None:
                return None
            asked = [each]
            while self._waiting and self._waiting[0].label == each[0].label:
                asked.append(self._open())
            evaluator = _evaluator(self._context, each[0].how)
            return lambda model, post: self._evaluate(model, evaluator, asked, post)

        SharedEngine(teacher, concurrency, following, lambda answers: self._units.take(*answers)).run()

    def _by_units(self, teacher: OpenedTeacher, first: _Opened) -> Iterator[_Answers]:
        """A call a unit, several at a time, of an engine that works on several lists."""
        begun = [first]

        def following() -> Job[_Answers] | None:
            room = self._units.count < AHEAD * teacher.info.lists
            each = begun.pop() if begun else self._following() if room else None
            if each is None:
                return None
            evaluator = _evaluator(self._context, each[0].how)  # it may not be one for several threads
            return partial(self._evaluate, teacher, evaluator, [each])

        return side_by_side(following, lambda: teacher.info.lists)

    def _evaluate(
        self, model: Teacher, evaluator: Evaluator, asked: Sequence[_Opened], post: Post
    ) -> Iterator[_Answers]:
        """One call of an evaluator: open units of one benchmark, which has to answer all that is left of them.

        What it tells between frames goes by ``post``.
        """
        settings, (first, _) = self._context.recipe.settings, asked[0]
        label, how = first.label, first.how
        failures: Counter[str] = Counter()

        def failed(reason: str) -> None:
            failures[reason] += 1

        def refused(question: str, attempt: int, reason: str) -> None:
            post(self._units.refuse, _sample_id(label, question, attempt), reason)

        spec = EvalSpec(
            benchmark=label,
            attempts=how.attempts,
            temperature=settings.evaluation.temperature,
            top_p=settings.evaluation.top_p,
            max_tokens=how.max_tokens,
            seed=settings.seed,
            batch_size=settings.student.batch_size or CPU_BATCH_SIZE,
            on_rows=partial(post, self._task.advance),
            on_failure=failed,
            on_refused=refused,
            done=frozenset(
                key for each, left in asked for key in each.attempted() if _sample_id(label, *key) not in left
            ),
        )
        questions = pl.concat([each.questions for each, _ in asked])
        for rows in evaluator.evaluate(model, questions, spec):
            if rows.height:
                yield rows, failures.copy()
                failures.clear()
        post(self._check, asked)

    def _check(self, asked: Sequence[_Opened]) -> None:
        """What an evaluator was asked is whole, and written as far as all before it is."""
        self._units.write_whole()
        who = f"evaluator {asked[0][0].how.evaluator!r}"
        self._units.check_complete(who, [each.unit for each, _ in asked])


def _at_once(function: Callable[..., object], *arguments: object) -> None:
    function(*arguments)


def ungraded(context: StageContext) -> dict[str, JsonValue]:
    """Answers that count as wrong because they could not be graded, by reason; told to the user."""
    counted: Counter[str] = Counter()
    for kept in sorted(context.writer.scratch().glob(f"{FAILURES}*.json")):
        counted.update(read_json(kept))
    for reason, count in sorted(counted.items()):
        context.console.warn(f"{context.name}: grading {count} answers {reason}; they count as wrong")
    return {f"ungraded.{reason}": count for reason, count in sorted(counted.items())}


def _units(context: StageContext, questions: pl.DataFrame) -> list[_Work]:
    settings = context.recipe.settings
    labels = context.inputs.summary("questions").get("benchmarks")
    known = terms_by_label(
        settings, context.registry, labels if isinstance(labels, Mapping) else {}
    )  # a run of an earlier version tells of none
    default = default_terms(settings.evaluation)
    work = []
    for part in questions.partition_by("source", maintain_order=True):
        label: str = part["source"][0]
        how = known.get(label, default)
        chunk = max(1, settings.sampling.chunk // how.attempts)
        # Under another name than the held-out responses' units, whatever the benchmark is called.
        work += [
            _Work(label, how, part.slice(unit.start, unit.size), unit)
            for unit in units(part.height, chunk, f"answers/{label}/")
        ]
    return work


def _keep_failures(context: StageContext, unit: Unit, failures: Counter[str]) -> None:
    """Until the end of the stage, when ``ungraded`` counts them."""
    if failures:
        kept = context.writer.scratch() / f"{FAILURES}{digest(unit.key)}.json"
        kept.write_text(json.dumps(failures))
