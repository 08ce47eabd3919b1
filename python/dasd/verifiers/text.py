"""Verifiers that need no other package: exact text, a letter, a number."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from fractions import Fraction

from dasd.errors import InputError
from dasd.records import Grade
from dasd.verifiers.answers import boxed, final_text, marked

__all__ = ["ChoiceVerifier", "ExactVerifier", "NumberVerifier"]

_LETTER = r"(?<![A-Za-z0-9])\(?([A-Z])\)?(?![A-Za-z0-9])"
_LEADING = re.compile(r"\(?([A-Za-z])\)?(?![A-Za-z0-9'])")
_STANDALONE = re.compile(_LETTER)
_NUMBER = re.compile(
    r"[-+\u2212]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+|(?<=\d)\.?)(?:[eE][-+]?\d+)?(?:\s*/\s*\d+)?"
)
_LONGEST_NUMBER = 100
_LARGEST_EXPONENT = 1000


class ExactVerifier:
    """Right if the final answer is the expected text, runs of white space counting as one space.

    The final answer is, in this order: what is boxed, the whole text after the reasoning, what follows the
    last "answer is" or "answer:".
    """

    def grade(self, response: str, answer: str, argument: str) -> Grade:
        """``argument``: ``ignore-case`` to compare without case, else empty."""
        if argument not in ("", "ignore-case"):
            raise InputError(f"verifier 'exact:{argument}': wanted 'exact' or 'exact:ignore-case'")
        text = final_text(response)
        candidates = [c for c in (boxed(text), text, marked(text)) if c]
        wanted = _spaced(answer, argument)
        for candidate in candidates:
            if _spaced(candidate, argument) == wanted:
                return Grade(True, candidate)
        return Grade(False, next((c for c in (boxed(text), marked(text), text) if c), None))


class ChoiceVerifier:
    """Right if the letter chosen is the expected one.

    The letter is looked for in what is boxed, then in what follows the last "answer is" or "answer:", then as
    the last capital that stands alone in the text after the reasoning.
    """

    def grade(self, response: str, answer: str, argument: str) -> Grade:  # noqa: ARG002
        """``answer``: the letter, in brackets or not, text after it allowed ("B", "(B)", "B) 12")."""
        wanted = _LEADING.match(answer.strip())
        if wanted is None:
            raise InputError(
                f"verifier 'choice': the expected answer {answer!r} starts with no single letter"
            )
        found = _chosen(final_text(response))
        return Grade(found == wanted[1].upper(), found)


class NumberVerifier:
    """Right if the number found equals the expected one.

    Looked at are what is boxed, else what follows the last "answer is" or "answer:", else the whole text
    after the reasoning; the last number counts. Thousands' commas, exponents and fractions as 3/4 are read.
    """

    def grade(self, response: str, answer: str, argument: str) -> Grade:
        """``argument``: relative tolerance, e.g. ``1e-6``; equal without one."""
        try:
            tolerance = Fraction(argument or "0")
        except (ValueError, ZeroDivisionError) as error:
            raise InputError(f"verifier 'number:{argument}': wanted a tolerance such as 1e-6") from error
        wanted = _last_number(answer)
        if wanted is None:
            raise InputError(f"verifier 'number': the expected answer {answer!r} is no number")
        text = final_text(response)
        places = [place for place in (boxed(text), marked(text), text) if place]
        found = next((number for number in map(_last_number, places) if number is not None), None)
        if found is None:
            return Grade(False, None)
        written, value = found
        return Grade(abs(value - wanted[1]) <= tolerance * abs(wanted[1]), written)


def _spaced(text: str, argument: str) -> str:
    spaced = " ".join(text.split())
    return spaced.casefold() if argument == "ignore-case" else spaced


def _chosen(text: str) -> str | None:
    for place in (boxed(text), marked(text)):
        if place is not None:
            cleaned = re.sub(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}", r"\1", place)
            leading = _LEADING.match(cleaned.strip("*_`$ {}"))
            if leading is not None:
                return leading[1].upper()
    alone = _STANDALONE.findall(text)
    if len(text) == 1 and text.isalpha():
        return text.upper()
    return alone[-1] if alone else None


def _last_number(text: str) -> tuple[str, Fraction] | None:
    """The last number in ``text`` as written and as a value."""
    for match in reversed([m[0] for m in _NUMBER.finditer(text)]):
        if len(match) > _LONGEST_NUMBER or not any(c.isdigit() for c in match):
            continue
        top, _, bottom = match.replace(",", "").replace("\u2212", "-").partition("/")
        try:
            number = Decimal(top.strip())
            # A huge exponent would make a number of so many digits.
            if abs(number.adjusted()) > _LARGEST_EXPONENT:
                continue
            return match.strip(), Fraction(number) / Fraction(bottom.strip() or "1")
        except (InvalidOperation, ValueError, ZeroDivisionError):
            continue
    return None
