"""Answers of one model to the evaluation questions, by each benchmark's own evaluator, resumed attempt by attempt."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import polars as pl
from pydantic import JsonValue

from dasd.base.progress import Task
from dasd.base.records import EvalSpec
from dasd.base.seeds import digest
from dasd.base.small_files import read_json
from dasd.evaluation.terms import EvaluationTerms, default_terms, terms_by_label
from dasd.pipeline.work.open_units import OpenUnits
from dasd.pipeline.work.refused import Refusals
from dasd.pipeline.work.stage import StageContext
from dasd.pipeline.work.units import Unit, units
from dasd.plugins.roles import Evaluator, Teacher
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
    is kept full gets a benchmark at a time, another one a unit. Raises PluginError where an evaluator left answers out.
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
    evaluators: dict[str, Evaluator] = {}
    for name, options in {each.how.evaluator: each.how.options for each in work}.items():
        evaluators[name] = context.registry.make_evaluator(name, options)
    description = f"{context.name}: student answers"
    with (
        context.console.task(description, total, "answers", completed=total - left) as task,
        units.guarded(),
    ):
        while waiting:
            first = waiting.popleft()
            open_ids = units.open(first.unit, first.question_ids())
            task.advance(first.answers - len(open_ids))
            units.write_whole()
            if not open_ids:
                continue
            asked = [first]
            teacher = context.models.open(model)
            while teacher.info.concurrency is not None and waiting and waiting[0].label == first.label:
                asked.append(waiting.popleft())
                more = units.open(asked[-1].unit, asked[-1].question_ids())
                task.advance(asked[-1].answers - len(more))
                open_ids |= more
            _evaluate(context, evaluators[first.how.evaluator], teacher, asked, open_ids, units, task)
    units.tell()


def _evaluate(
    context: StageContext,
    evaluator: Evaluator,
    model: Teacher,
    asked: Sequence[_Work],
    open_ids: frozenset[str],
    units: OpenUnits,
    task: Task,
) -> None:
    """One call of an evaluator: open units of one benchmark, of which ``open_ids`` are left."""
    settings, label, how = context.recipe.settings, asked[0].label, asked[0].how
    failures: Counter[str] = Counter()

    def failed(reason: str) -> None:
        failures[reason] += 1

    spec = EvalSpec(
        benchmark=label,
        attempts=how.attempts,
        temperature=settings.evaluation.temperature,
        top_p=settings.evaluation.top_p,
        max_tokens=how.max_tokens,
        seed=settings.seed,
        batch_size=settings.student.batch_size or CPU_BATCH_SIZE,
        on_rows=task.advance,
        on_failure=failed,
        on_refused=lambda question, attempt, reason: units.refuse(
            _sample_id(label, question, attempt), reason
        ),
        done=frozenset(
            key for each in asked for key in each.attempted() if _sample_id(label, *key) not in open_ids
        ),
    )
    questions = pl.concat([each.questions for each in asked])
    for rows in evaluator.evaluate(model, questions, spec):
        if rows.height:
            units.take(rows, failures)
            failures.clear()
    units.write_whole()
    units.check_complete(f"evaluator {how.evaluator!r}")


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
