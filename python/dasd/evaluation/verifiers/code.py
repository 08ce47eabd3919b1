"""The verifier ``code``: a program is right if it passes the question's tests, in a sandbox."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dasd.base.records import Grade
from dasd.errors import InputError
from dasd.evaluation.sandbox import Outcome, check_many, read_tests, require_sandbox
from dasd.evaluation.sandbox.permission import without_sandbox
from dasd.evaluation.verifiers.answers import final_text

__all__ = ["CodeVerifier", "last_program"]

_FENCE = re.compile(r"^(?P<indent> {0,3})(?P<fence>`{3,}|~{3,})[ \t]*(?P<language>[^\s`]*)[^`\n]*$")
_PYTHON = frozenset({"python", "python3", "py", "python-3"})
_FAILURES = {Outcome.TIMEOUT: "timed out", Outcome.MEMORY: "out of memory"}


class CodeVerifier:
    """Right if the last Python block after the reasoning passes every test of the answer.

    A program that is cut off isn't right; the grade's ``failure`` then says why.
    """

    def grade(self, response: str, answer: str, argument: str) -> Grade:
        """``answer``: tests as JSON (docs/sandbox.md). ``argument`` has to be empty.

        Raises InputError for tests that can't be read, SandboxError where code can't be run.
        """
        return self.grade_many([(response, answer, argument)])[0]

    def grade_many(self, rows: Sequence[tuple[str, str, str]]) -> list[Grade]:
        """As ``grade``, for many (response, answer, argument), two a processor at a time."""
        unsafe = without_sandbox()
        if not unsafe:
            require_sandbox()
        for argument in {row[2] for row in rows} - {""}:
            raise InputError(f"verifier 'code:{argument}': wanted 'code'; limits belong in the answer's JSON")
        # Once a question: all attempts at it come with the same tests, which may be megabytes.
        tests = {answer: read_tests(answer) for answer in dict.fromkeys(answer for _, answer, _ in rows)}
        programs = [last_program(final_text(response)) for response, _, _ in rows]
        found = [place for place, program in enumerate(programs) if program is not None]
        results = check_many(
            [(programs[place] or "", tests[rows[place][1]]) for place in found], without_sandbox=unsafe
        )
        grades = [Grade(False, None) for _ in rows]
        for place, result in zip(found, results, strict=True):
            grades[place] = Grade(result.passed, programs[place], _FAILURES.get(result.outcome))
        return grades


def last_program(text: str) -> str | None:
    """The last closed fenced block marked as Python, else the last closed one without a language, else None."""
    python = unmarked = None
    opened: re.Match[str] | None = None
    lines: list[str] = []
    for line in text.splitlines():
        fence = _FENCE.match(line)
        if opened is None:
            if fence is not None:
                opened, lines = fence, []
        elif fence is not None and not fence["language"] and fence["fence"].startswith(opened["fence"]):
            language = opened["language"].lower().strip("{}.")
            if language in _PYTHON:
                python = "\n".join(lines) + "\n"
            elif not language:
                unmarked = "\n".join(lines) + "\n"
            opened = None
        else:
            lines.append(line.removeprefix(opened["indent"]))
    return python if python is not None else unmarked
