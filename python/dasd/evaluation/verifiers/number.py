"""The verifier ``number``: one number, within a tolerance."""

from __future__ import annotations

import re
from fractions import Fraction

from dasd.base.records import Grade
from dasd.errors import InputError
from dasd.evaluation.verifiers.answers import final_answer, final_text, first_sentence
from dasd.evaluation.verifiers.notation import LONGEST, normal
from dasd.evaluation.verifiers.quantity import Quantity, quantity

__all__ = ["NumberVerifier"]

_SIGNED = r"[-+]?\s?[$€£]?"
_PLAIN = r"(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
_NUMBER = re.compile(
    rf"(?<![\w.])(?:{_SIGNED}\\frac\{{\s*-?{_PLAIN}\s*\}}\{{\s*-?{_PLAIN}\s*\}}"
    rf"|{_SIGNED}{_PLAIN}\s*(?:\\cdot|x)\s*10\s*\^\s*\{{?[-+]?\d{{1,4}}\}}?"
    rf"|{_SIGNED}\d+\s+\d+/\d+|{_SIGNED}{_PLAIN}(?:[eE][-+]?\d{{1,4}})?(?:\s*/\s*{_PLAIN})?)(?:\s*%)?"
)
_JOINED = re.compile(r"[^\w]*(?:or|and|,|;|to)[^\w]*", re.IGNORECASE)
_HEDGED = re.compile(r"\b(?:not|isn't|n't|neither|either|maybe|cannot|can't)\b", re.IGNORECASE)
_LONGEST_LINE = 2000


class NumberVerifier:
    """Right if the number found equals the expected one.

    The first place that is there decides: what is boxed, what follows the last "answer is" or "answer:", the last
    line with a number. The place has to be a number, alone or with a unit, or its last number counts, unless
    "or", "and" or a comma join it to another one.
    """

    def grade(self, response: str, answer: str, argument: str) -> Grade:
        """``argument``: the tolerance; equal without one.

        ``1e-6`` or ``rel=1e-6`` is relative to the expected number, ``abs=0.01`` absolute, ``rel=...,abs=...``
        takes the wider of the two.
        """
        relative, absolute = _tolerances(argument)
        wanted = _expected(answer)
        text = final_text(response)
        found = _found(text)
        if found is None:
            return Grade(False, None)
        written, number = found
        allowed = max(relative * abs(wanted.share), absolute)
        correct = abs(number.share - wanted.share) <= allowed
        if number.percent != wanted.percent and not correct and abs(wanted.value) > 1:
            # A percentage that was asked for as one: 50 and 50 %.
            correct = abs(number.value - wanted.value) <= max(relative * abs(wanted.value), absolute)
        return Grade(correct, written)

    def check(self, answer: str, argument: str) -> None:
        """InputError for an answer that is no number, and for a tolerance that is none."""
        _tolerances(argument)
        _expected(answer)


def _expected(answer: str) -> Quantity:
    wanted = quantity(normal(answer))
    if wanted is None:
        raise InputError(f"verifier 'number': the expected answer {answer!r} is no number")
    return wanted


def _tolerances(argument: str) -> tuple[Fraction, Fraction]:
    found = {"rel": Fraction(0), "abs": Fraction(0)}
    try:
        for part in argument.split(",") if argument else ():
            name, sign, value = part.strip().rpartition("=")
            found[name if sign else "rel"] = Fraction(value)
        if len(found) > 2 or min(found.values()) < 0:
            raise ValueError(argument)
    except (ValueError, ZeroDivisionError) as error:
        raise InputError(
            f"verifier 'number:{argument}': wanted a tolerance such as 1e-6, rel=1e-6 or abs=0.01"
        ) from error
    return found["rel"], found["abs"]


def _found(text: str) -> tuple[str, Quantity] | None:
    """The number as written and read; None without one, or with several of which none is chosen."""
    stated = final_answer(text)
    if stated is None:
        return None
    answer, place = stated
    if place == "line":
        lines = [line for line in text.splitlines() if re.search(r"\d|[\u00bc-\u00be\u2150-\u215e]", line)]
        answer = lines[-1] if lines else ""
        said = re.split(r"\b(?:is|are|equals|makes|totals)\b", answer)
        if len(said) > 1 and re.search(r"\d", said[-1]) and not _HEDGED.search(answer):
            answer, place = said[-1], "said"
    if place == "mark":
        answer = first_sentence(answer)
    if len(answer) > (LONGEST if place == "box" else _LONGEST_LINE):
        return None
    if place != "line" and _HEDGED.search(answer):
        return None
    plain = normal(answer)
    whole = quantity(plain.rpartition("=")[2].strip() if plain.count("=") else plain)
    if whole is not None:
        return answer.strip(), whole
    matches = list(_NUMBER.finditer(plain))
    for before, after in zip(matches[-2:], matches[-1:], strict=False):
        if len(matches) > 1 and _JOINED.fullmatch(plain[before.end() : after.start()]):
            return None
    if place == "box" and len(matches) > 1:
        return None
    for match in matches if place == "said" else reversed(matches):
        number = quantity(match[0])
        if number is not None:
            return match[0].strip(), number
    return None
