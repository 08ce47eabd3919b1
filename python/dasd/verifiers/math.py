"""The verifier ``math``: equality of mathematical expressions, by math-verify."""

from __future__ import annotations

import logging
import threading
from typing import Any

from math_verify import parse, verify

from dasd.records import Grade
from dasd.verifiers.answers import boxed, final_text

__all__ = ["MathVerifier"]

_SECONDS = 5
# Longest answer parsed where no time limit can be set.
_LONGEST = 500


class MathVerifier:
    """Right if math-verify finds the answer in the text after the reasoning equal to the expected one.

    In the main thread parsing and comparing end after five seconds (by a signal); other threads can't have
    that limit, so they look at what is boxed or at the last 500 characters only. Whatever goes wrong inside
    the parser means that the answer isn't right.
    """

    def grade(self, response: str, answer: str, argument: str) -> Grade:  # noqa: ARG002
        """``answer``: LaTeX or a plain expression, with or without dollar signs. ``argument`` isn't used."""
        seconds = _SECONDS if threading.current_thread() is threading.main_thread() else None
        text = final_text(response)
        if seconds is None:
            inside = boxed(text)
            text = f"\\boxed{{{inside}}}" if inside is not None else text
            text = text[-_LONGEST:]
        # math-verify tells at every call without a time limit that it has none.
        logging.getLogger("math_verify").setLevel(logging.ERROR)
        expected = _parsed(answer, seconds) if "$" in answer or "\\" in answer else []
        expected = expected or _parsed(f"${answer}$", seconds) or _parsed(answer, seconds)
        found = _parsed(text, seconds)
        if not expected or not found:
            return Grade(False, _shown(found))
        try:
            correct = bool(verify(expected, found, timeout_seconds=seconds))
        except Exception:  # noqa: BLE001 - sympy raises anything on odd input; such an answer isn't right
            correct = False
        return Grade(correct, _shown(found))


def _parsed(text: str, seconds: int | None) -> list[Any]:
    try:
        return list(parse(text, parsing_timeout=seconds))
    except Exception:  # noqa: BLE001 - as above
        return []


def _shown(found: list[Any]) -> str | None:
    """The answer as math-verify cut it out of the text."""
    return str(found[-1]) if found else None
