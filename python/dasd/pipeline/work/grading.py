"""Answers held against the questions' verifiers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import polars as pl

from dasd.plugins.checked import CheckedVerifier, grade_rows
from dasd.plugins.registry import Registry
from dasd.recipe.verifier_settings import VerifierSettings

__all__ = ["Grader", "answers_by_question"]

Answers = Mapping[str, tuple[str, str]]


class Grader:
    """Grades responses; each verifier is made once."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._verifiers: dict[str, CheckedVerifier] = {}
        self.failures: Counter[str] = Counter()
        """How many answers could not be held against the expected ones, by reason; they count as wrong."""

    def correct(self, text: str, answer: str | None, verifier: str | None) -> bool | None:
        """Whether ``text`` is right by ``verifier`` (see ``VerifierSettings``); None without one."""
        known = {} if answer is None or verifier is None else {"": (answer, verifier)}
        found: bool | None = self.correct_rows([("", text)], known).item()
        return found

    def correct_rows(self, rows: Iterable[tuple[str, str]], answers: Answers) -> pl.Series:
        """One nullable boolean for each (question_id, text)."""
        graded: list[tuple[CheckedVerifier, str, str, str]] = []
        places: list[int | None] = []
        for question, text in rows:
            known = answers.get(question)
            places.append(None if known is None else len(graded))
            if known is not None:
                verifier = VerifierSettings.of(known[1])
                graded.append((self._verifier(verifier), text, known[0], verifier.argument))
        grades = grade_rows(graded)
        self.failures.update(grade.failure for grade in grades if grade.failure is not None)
        correct = [None if place is None else grades[place].correct for place in places]
        return pl.Series("correct", correct, dtype=pl.Boolean)

    def _verifier(self, verifier: VerifierSettings) -> CheckedVerifier:
        key = verifier.component
        if key not in self._verifiers:
            self._verifiers[key] = self._registry.make_verifier(verifier.name, verifier.options)
        return self._verifiers[key]


def answers_by_question(questions: pl.LazyFrame) -> Answers:
    """Answer and verifier of every question that has both."""
    rows = (
        questions.filter(pl.col("answer").is_not_null() & pl.col("verifier").is_not_null())
        .select("question_id", "answer", "verifier")
        .collect()
        .iter_rows()
    )
    return {question: (answer, verifier) for question, answer, verifier in rows}
