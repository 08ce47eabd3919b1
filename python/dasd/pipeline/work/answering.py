"""Answers of one model to the evaluation questions, by each benchmark's own evaluator, resumed attempt by attempt."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import polars as pl
from pydantic import JsonValue

from dasd.base.records import EvalSpec
from dasd.base.schemas import EVAL
from dasd.base.seeds import digest
from dasd.base.small_files import read_json
from dasd.errors import PluginError
from dasd.evaluation.terms import EvaluationTerms, default_terms, terms_by_label
from dasd.pipeline.work.question_places import located
from dasd.pipeline.work.refused import Refusals
from dasd.pipeline.work.stage import StageContext
from dasd.pipeline.work.under_way import UnderWay
from dasd.pipeline.work.units import Unit, units
from dasd.plugins.roles import Evaluator
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

    @property
    def sample_ids(self) -> list[str]:
        """How the frame ``refused`` calls each of them."""
        return [self.sample_id(*key) for key in self.attempted()]

    def attempted(self) -> list[tuple[str, int]]:
        """(question_id, attempt) of each of them."""
        questions = self.questions.get_column("question_id")
        return [(question, attempt) for question in questions for attempt in range(self.how.attempts)]

    def sample_id(self, question_id: str, attempt: int) -> str:
        """See ``REFUSED``."""
        return f"{self.label}/{question_id}/{attempt}"


def answer_questions(context: StageContext, model: ModelSettings, questions: pl.DataFrame) -> None:
    """Write an EVAL row for every attempt at every question that the stage doesn't have yet.

    ``questions``: QUESTIONS rows of split ``eval``. The model is opened when there is something to ask it.
    Raises PluginError where an evaluator left answers out.
    """
    settings = context.recipe.settings
    done = context.writer.done()
    work = _units(context, questions)
    started = {
        each.unit.key: UnderWay(context, each.unit.key, EVAL) for each in work if each.unit.key not in done
    }
    finished = sum(
        started[each.unit.key].rows.height if each.unit.key in started else each.answers for each in work
    )
    total = sum(each.answers for each in work)
    refusals = Refusals(context, total, [key for each in work for key in each.sample_ids])
    given = not context.writer.read("eval").select("attempt").head(1).collect().is_empty()
    evaluators: dict[str, Evaluator] = {}
    for name, options in {each.how.evaluator: each.how.options for each in work}.items():
        evaluators[name] = context.registry.make_evaluator(name, options)
    with context.console.task(
        f"{context.name}: student answers", total, "answers", completed=finished
    ) as task:
        for each in work:
            under_way = started.get(each.unit.key)
            if under_way is None:
                continue
            refusals.turn_to(each.unit.key)
            before = refusals.of_unit
            failures: Counter[str] = Counter()
            answered = under_way.rows.select("question_id", "attempt").iter_rows()
            spec = EvalSpec(
                benchmark=each.label,
                attempts=each.how.attempts,
                temperature=settings.evaluation.temperature,
                top_p=settings.evaluation.top_p,
                max_tokens=each.how.max_tokens,
                seed=settings.seed,
                batch_size=settings.student.batch_size or CPU_BATCH_SIZE,
                on_rows=task.advance,
                on_failure=partial(_count, failures),
                on_refused=partial(_refused, refusals, each),
                done=frozenset(
                    {*answered, *(key for key in each.attempted() if each.sample_id(*key) in before)}
                ),
            )
            if len(spec.done) < each.answers:
                evaluator = evaluators[each.how.evaluator]
                questions_of = {each.sample_id(*key): key[0] for key in each.attempted()}
                with located(context, questions_of), refusals.saved():
                    for rows in evaluator.evaluate(context.models.open(model), each.questions, spec):
                        if rows.height:
                            under_way.add(rows, failures)
                            failures.clear()
            given = given or under_way.rows.height > 0
            refusals.finish(each.unit.key, given=given)
            _finish(context, each, under_way, under_way.notes + failures, refusals.of_unit)
            refusals.forget()
    refusals.tell()


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


def _finish(
    context: StageContext,
    work: _Work,
    under_way: UnderWay,
    failures: Counter[str],
    refused: frozenset[str],
) -> None:
    """Write the whole unit, then forget the pieces."""
    key = work.unit.key
    rows = _every_attempt(under_way.rows, work, refused)
    if rows.height:
        context.writer.append("eval", rows, key=key)
    if failures:
        kept = context.writer.scratch() / f"{FAILURES}{digest(key)}.json"
        kept.write_text(json.dumps(failures))
    context.writer.finish_unit(key)
    under_way.forget()


def _every_attempt(rows: pl.DataFrame, work: _Work, refused: frozenset[str]) -> pl.DataFrame:
    """The rows in order of question and attempt; PluginError unless every attempt is there or was refused."""
    keys = [key for key in work.attempted() if work.sample_id(*key) not in refused]
    schema = {"question_id": pl.String, "attempt": pl.UInt32}
    wanted = pl.DataFrame(keys, schema=schema, orient="row")
    found = wanted.join(rows, on=["question_id", "attempt"], maintain_order="left")
    if found.height != wanted.height or rows.height != wanted.height:
        raise PluginError(
            f"evaluator {work.how.evaluator!r} returned {rows.height} answers, {found.height} of the "
            f"{wanted.height} wanted ({work.questions.height} questions, {work.how.attempts} attempts each)"
        )
    return found.select(list(EVAL.columns))


def _refused(refusals: Refusals, work: _Work, question_id: str, attempt: int, reason: str) -> None:
    refusals.add(work.sample_id(question_id, attempt), question_id, reason)


def _count(failures: Counter[str], reason: str) -> None:
    failures[reason] += 1
