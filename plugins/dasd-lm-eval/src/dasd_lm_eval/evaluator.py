"""The evaluator ``lm-eval``: questions of the source ``lm-eval``, asked as their task asks and graded by it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import polars as pl

from dasd.api import EVAL, EvalSpec, Grade, Message, Registry, Teacher
from dasd_lm_eval.asking import Asked, sampled_answers, scored_answers
from dasd_lm_eval.documents import Document
from dasd_lm_eval.generating import visible
from dasd_lm_eval.grading import chosen, grade_scored, grade_written
from dasd_lm_eval.places import NAME, Place, Tasks
from dasd_lm_eval.scored import write_scored

__all__ = ["TaskEvaluator"]

_Row = tuple[Asked, str, Grade, str, int]
"""Attempt, text, grade, finish_reason, tokens."""


class TaskEvaluator:
    """Asks as lm-evaluation-harness would, in the chat form; grades by the task's filters and main metric."""

    def __init__(self, registry: Registry) -> None:
        """``registry``: of dasd, for the evaluator of questions that are no task's."""
        self._registry = registry
        self._tasks = Tasks()

    def evaluate(self, model: Teacher, questions: pl.DataFrame, spec: EvalSpec) -> Iterator[pl.DataFrame]:
        """Yields EVAL rows as answers come, at most ``spec.batch_size`` a frame; none for what is ``spec.done``.

        Temperature, top-p and the cap on tokens are the task's (``spec.max_tokens`` where it has none). ``text``
        is the answer up to the first stop string behind the reasoning, or where texts are scored one JSON object
        for each (``text``, ``logprob``, ``tokens``, ``greedy``). Questions of other sources go to the evaluator
        ``verifier``: a recipe that asks for this plugin by name has this evaluator as its default. Raises
        InputError naming a task whose document has changed, before anything is asked.
        """
        tasks = pl.col("verifier").str.starts_with(f"{NAME}:").fill_null(False)
        asked = list(self._asked(questions.filter(tasks), spec))
        others = questions.filter(~tasks)
        if others.height:
            yield from self._registry.make_evaluator("verifier").evaluate(model, others, spec)
        writes = [each for each in asked if each.document.generates]
        scores = [each for each in asked if not each.document.generates]
        started = time.perf_counter()
        for rows in self._rows(model, writes, scores, spec):
            seconds = (time.perf_counter() - started) / max(1, len(rows))
            for _, _, grade, _, _ in rows:
                if grade.failure is not None:
                    spec.on_failure(grade.failure)
            yield _frame(rows, spec, seconds)
            spec.on_rows(len(rows))
            started = time.perf_counter()

    def _rows(
        self, model: Teacher, writes: Sequence[Asked], scores: Sequence[Asked], spec: EvalSpec
    ) -> Iterator[list[_Row]]:
        for answers in sampled_answers(model, writes, spec):
            yield [
                (
                    each,
                    answer.text,
                    grade_written(each.task, each.document, visible(answer.text, how)),
                    answer.finish_reason,
                    answer.tokens,
                )
                for each, how, answer in answers
            ]
        for scored in scored_answers(model, scores, spec):
            yield [
                (
                    each,
                    write_scored(options),
                    grade_scored(each.task, each.document, options),
                    "stop",
                    options[chosen(options)].tokens,
                )
                for each, options in scored
            ]

    def _asked(self, questions: pl.DataFrame, spec: EvalSpec) -> Iterator[Asked]:
        for question_id, messages, verifier in questions.select(
            "question_id", "messages", "verifier"
        ).iter_rows():
            place = Place.read(verifier.partition(":")[2], question_id)
            task, document = self._tasks.find(place)
            system = _system(messages, document)
            for attempt in range(spec.attempts):
                if (question_id, attempt) not in spec.done:
                    yield Asked(question_id, attempt, task, document, system)


def _system(messages: list[dict[str, str]], document: Document) -> Message | None:
    """The recipe's system prompt, which the questions stage put before a conversation without one."""
    first = document.context.messages[0]
    if messages and messages[0]["role"] == "system" and first.role != "system":
        return Message("system", messages[0]["content"])
    return None


def _frame(rows: Sequence[_Row], spec: EvalSpec, seconds: float) -> pl.DataFrame:
    return pl.DataFrame(
        [
            (
                spec.benchmark,
                each.question_id,
                each.attempt,
                text,
                grade.extracted,
                grade.correct,
                finish_reason,
                tokens,
                seconds,
            )
            for each, text, grade, finish_reason, tokens in rows
        ],
        schema=dict(EVAL.columns),
        orient="row",
    )
