"""Equality of expressions by math-verify, guarded; runs in a worker process that can be killed."""

from __future__ import annotations

import logging
import re
from typing import Any

import sympy
from math_verify import LatexExtractionConfig, parse, verify

__all__ = ["same"]

_DIGITS = 50
_SIGNIFICANT = 6
_DECIMAL = re.compile(r"[-+]?\d*\.\d+")


def same(what: str, expected: str, found: str) -> bool:
    """Whether two normalised expressions are the same.

    ``what``: ``value``, or ``relation`` / ``inequality`` where both are left side minus right side and may
    differ by a factor (of an inequality a positive one).
    """
    wanted, got = _expression(expected), _expression(found)
    if wanted is None or got is None:
        return False
    if what != "value":
        ratio = sympy.simplify(wanted / got)
        return bool(
            ratio.is_number
            and ratio.is_finite
            and not ratio.is_zero
            and (what == "relation" or ratio.is_positive)
        )
    if not wanted.free_symbols and not got.free_symbols:
        return _constants(wanted, got, found)
    return bool(verify(wanted, got, timeout_seconds=None))


def _expression(text: str) -> Any | None:
    """One sympy expression, decimal numbers taken exactly; None for what is none or can't be parsed."""
    # At every call without a time limit math-verify tells that it has none; the pool has one.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    found = parse(f"${text}$", [LatexExtractionConfig()], fallback_mode="no_fallback", parsing_timeout=None)
    if len(found) != 1 or not isinstance(found[0], sympy.Expr):
        return None
    made = found[0]
    made = made.xreplace({symbol: sympy.I for symbol in made.free_symbols if symbol.name == "i"})
    floats = {number: sympy.Rational(str(number)) for number in made.atoms(sympy.Float)}
    return made.xreplace(floats).doit() if floats else made.doit()


def _constants(wanted: Any, got: Any, found: str) -> bool:
    exact, value = sympy.N(wanted, _DIGITS), sympy.N(got, _DIGITS)
    if not all(number.is_number and number.is_finite for number in (exact, value)):
        return bool(wanted == got and wanted not in (sympy.nan, sympy.zoo))
    scale = max(sympy.Abs(exact), sympy.Abs(value))
    distance = sympy.Abs(exact - value)
    if scale == 0 or distance <= scale * sympy.Float(10) ** (10 - _DIGITS):
        return True
    # A decimal number of enough digits may stand for a value that has no finite decimal writing.
    if isinstance(wanted, sympy.Rational) or not _DECIMAL.fullmatch(found):
        return False
    decimals = len(found.partition(".")[2])
    digits = len(re.sub(r"\D", "", found).lstrip("0"))
    return bool(digits >= _SIGNIFICANT and distance <= sympy.Float("0.5") * sympy.Float(10) ** -decimals)
