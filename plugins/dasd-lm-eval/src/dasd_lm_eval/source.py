"""The source ``lm-eval``: a task's documents as questions."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from dasd.api import QUESTIONS, InputError, QuestionRows, QuestionSource
from dasd_lm_eval.documents import Document, PreparedTask
from dasd_lm_eval.options import TaskOptions
from dasd_lm_eval.places import NAME, Place, Tasks

__all__ = ["TaskQuestions"]


class TaskQuestions:
    """Documents of a task of lm-evaluation-harness, as they are asked in a conversation."""

    def load(self, source: QuestionSource, split: str, seed: int) -> QuestionRows:
        """QUESTIONS rows of split ``eval``; ids are ``TASK:NUMBER``, the document's number in its split.

        ``count`` takes the first documents, of a group's tasks in turn. Raises InputError for split ``train``:
        a benchmark is nothing to train on, and its metrics need the evaluator.
        """
        del seed  # worked examples are drawn with lm_eval's own
        if split != "eval":
            raise InputError(
                "questions.train: tasks of lm-eval can be evaluated only; name them in questions.eval"
            )
        options = TaskOptions.model_validate(source.options)
        tasks = Tasks().of(options)
        label = source.name or _label(options)
        rows = [
            _row(task, document, options, label, source.domain)
            for task, document in _first(tasks, source.count)
        ]
        return QuestionRows(pl.DataFrame(rows, schema=dict(QUESTIONS.columns)))


def _label(options: TaskOptions) -> str:
    return options.task.rsplit("/", 1)[-1].removesuffix(".yaml").removesuffix(".yml")


def _first(tasks: dict[str, PreparedTask], count: int | None) -> Iterator[tuple[PreparedTask, Document]]:
    taken = dict.fromkeys(tasks, 0)
    left = sum(task.count for task in tasks.values()) if count is None else count
    for number in range(max(task.count for task in tasks.values())):
        for name, task in tasks.items():
            if left and number < task.count:
                taken[name] += 1
                left -= 1
    for name, task in tasks.items():
        yield from ((task, task.document(number)) for number in range(taken[name]))


def _row(
    task: PreparedTask, document: Document, options: TaskOptions, label: str, domain: str | None
) -> dict[str, object]:
    place = Place(options, task.name, document.number, document.hash)
    return {
        "question_id": f"{task.name}:{document.number}",
        "messages": [{"role": m.role, "content": m.content} for m in document.context.messages],
        "domain": domain or task.name,
        # Without an answer it has no part in the accuracy.
        "answer": document.target if task.metric is not None else None,
        "verifier": f"{NAME}:{place.argument}",
        "source": label,
        "split": "eval",
    }
