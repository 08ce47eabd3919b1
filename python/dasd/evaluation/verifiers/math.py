"""The verifier ``math``: equality of mathematical answers, by math-verify in worker processes."""

from __future__ import annotations

from collections.abc import Sequence

from dasd.base.records import Grade
from dasd.evaluation.verifiers.equality import NeedsSymbols, equal
from dasd.evaluation.verifiers.places import answers_in
from dasd.evaluation.verifiers.pool import Pool, shared_pool

__all__ = ["MathVerifier"]


class MathVerifier:
    """Right if the answer found in the text after the reasoning equals the expected one.

    Where the answer is looked for, and what counts as equal, is in docs/graders.md. Numbers and words are
    compared here; expressions in worker processes under a hard limit of time and memory, from any thread.
    """

    def __init__(self, pool: Pool | None = None) -> None:
        """``pool``: the workers; None: those that all verifiers of this process share."""
        self._pool = pool or shared_pool()

    def grade(self, response: str, answer: str, argument: str) -> Grade:
        """``answer``: LaTeX or a plain expression, with or without dollar signs. ``argument`` isn't used.

        ``failure`` of the grade is ``timed out`` or ``out of memory`` where the comparison was cut off.
        """
        return self.grade_many([(response, answer, argument)])[0]

    def grade_many(self, rows: Sequence[tuple[str, str, str]]) -> list[Grade]:
        """As ``grade``, for many (response, answer, argument) at once, by all workers."""
        grades: list[Grade | None] = []
        asked: list[tuple[int, str, str]] = []
        for row, (response, answer, _) in enumerate(rows):
            found = answers_in(response)
            quick = _quick(answer, found)
            grades.append(quick)
            if quick is None and found is not None:
                asked.append((row, answer, found))
        verdicts = self._pool.compare_all([(answer, found) for _, answer, found in asked])
        for (row, _, found), verdict in zip(asked, verdicts, strict=True):
            failure = None if verdict in ("right", "wrong") else verdict
            grades[row] = Grade(verdict == "right", found, failure)
        return [grade for grade in grades if grade is not None]


def _quick(answer: str, found: str | None) -> Grade | None:
    """The grade if no expression has to be compared, else None."""
    if found is None:
        return Grade(False, None)
    try:
        return Grade(equal(answer, found), found)
    except NeedsSymbols:
        return None
