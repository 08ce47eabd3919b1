"""The suite of a verifier: grades of responses."""

from __future__ import annotations

from typing import ClassVar

from dasd.api import Verifier
from dasd.plugins.components import Role
from dasd.testing.suite import ComponentSuite

__all__ = ["VerifierSuite"]

GARBAGE = ("", " \n", "<think>", "</think>", "<think>Grüße 😀</think>", "{" * 200, "x" * 5000, "\x00\ufffd")

_NO_EXAMPLES = (
    "give the suite examples in `right` and `wrong`, each (response, answer, argument); with `dasd plugins check`: "
    """-o 'right=[["7", "7", ""]]' -o 'wrong=[["8", "7", ""]]'"""
)


class VerifierSuite(ComponentSuite):
    """Set ``name``, and examples in ``right`` and ``wrong``: (response, answer, argument)."""

    role: ClassVar[Role] = "verifier"
    right: ClassVar[tuple[tuple[str, str, str], ...]] = ()
    """Responses that are right."""
    wrong: ClassVar[tuple[tuple[str, str, str], ...]] = ()
    """Responses that are wrong."""

    @classmethod
    def make_verifier(cls) -> Verifier:
        """The verifier, through the registry, which checks that it returns grades."""
        return cls.registry().make_verifier(cls.name, cls.make_options(cls.directory()))

    def test_right_responses_are_right(self) -> None:
        """The suite's examples, each with the answer that was found in it."""
        assert self.right, _NO_EXAMPLES
        verifier = self.make_verifier()
        for response, answer, argument in self.right:
            grade = verifier.grade(response, answer, argument)
            assert grade.correct, f"{response!r} counts as wrong; the answer is {answer!r}"
            assert grade.extracted is not None, f"{response!r} is right, but nothing was extracted"

    def test_wrong_responses_are_wrong(self) -> None:
        """The suite's examples."""
        assert self.wrong, _NO_EXAMPLES
        verifier = self.make_verifier()
        for response, answer, argument in self.wrong:
            assert not verifier.grade(response, answer, argument).correct, f"{response!r} counts as right"

    def test_whatever_a_model_writes_gets_a_grade(self) -> None:
        """Empty, cut, endless or strange responses are wrong, not an exception."""
        assert self.right, _NO_EXAMPLES
        verifier = self.make_verifier()
        _, answer, argument = self.right[0]
        for response in GARBAGE:
            assert not verifier.grade(response, answer, argument).correct, (
                f"{response[:40]!r} counts as right"
            )

    def test_the_same_response_gets_the_same_grade(self) -> None:
        """Grades are made anew at every start of a run."""
        assert self.right and self.wrong, _NO_EXAMPLES
        for response, answer, argument in (*self.right, *self.wrong):
            grades = {self.make_verifier().grade(response, answer, argument) for _ in range(2)}
            assert len(grades) == 1, f"{response!r}: {grades}"
