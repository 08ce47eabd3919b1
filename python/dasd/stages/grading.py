"""Answers held against the questions' verifiers."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from dasd.api import Verifier
from dasd.registry import Registry

__all__ = ["Grader", "answers_by_question"]

Answers = dict[str, tuple[str, str]]


class Grader:
    """Grades responses; each verifier is made once."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._verifiers: dict[str, Verifier] = {}

    def correct(self, text: str, answer: str | None, verifier: str | None) -> bool | None:
        """Whether ``text`` is right by ``verifier`` (``name`` or ``name:argument``); None without one."""
        if answer is None or verifier is None:
            return None
        name, _, argument = verifier.partition(":")
        if name not in self._verifiers:
            self._verifiers[name] = self._registry.make_verifier(name)
        return self._verifiers[name].grade(text, answer, argument).correct

    def correct_rows(self, rows: Iterable[tuple[str, str]], answers: Answers) -> pl.Series:
        """One nullable boolean for each (question_id, text)."""
        grades = [self.correct(text, *answers.get(question, (None, None))) for question, text in rows]
        return pl.Series("correct", grades, dtype=pl.Boolean)


def answers_by_question(questions: pl.LazyFrame) -> Answers:
    """Answer and verifier of every question that has both."""
    rows = (
        questions.filter(pl.col("answer").is_not_null() & pl.col("verifier").is_not_null())
        .select("question_id", "answer", "verifier")
        .collect()
        .iter_rows()
    )
    return {question: (answer, verifier) for question, answer, verifier in rows}
