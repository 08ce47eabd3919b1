"""Values that a program reported, compared in dasd's own process: at a cost that the expected value bounds.

Nothing that the program chose is hashed but text (whose hash it can't foresee), and no integer of more than
Python's 4,300 digits is read.
"""

from __future__ import annotations

import json
import math
from typing import Any

__all__ = ["most_bytes", "same_value"]

_NUMBER = 80
"""Room of a float, or of a complex number with its tag."""
_CONTAINER = 16
"""Room of a container's tag, brackets and separators."""
_CHARACTER = 12
"""Room of a character that JSON writes as two escapes; of two, as a key that is an empty tuple."""


def most_bytes(expected: Any) -> int:
    """Length in bytes that no line of a value equal to ``expected`` exceeds."""
    if isinstance(expected, list | tuple):
        return _CONTAINER + sum(most_bytes(each) + 2 for each in expected)
    if isinstance(expected, dict):
        return _CONTAINER + sum(
            most_bytes(key) + most_bytes(value) + _CONTAINER for key, value in expected.items()
        )
    if isinstance(expected, str):
        return _NUMBER + _CHARACTER * len(expected)
    if isinstance(expected, float) and math.isfinite(expected):
        return _NUMBER + len(str(int(expected)))
    return _NUMBER + len(str(expected))


def same_value(expected: Any, line: bytes) -> bool:
    """Whether ``line``, written by the sandbox's ``encode``, is ``expected``; a tuple is a list, true isn't 1."""
    if len(line) > most_bytes(expected):
        return False
    try:
        return _equal(expected, json.loads(line))
    except (ValueError, TypeError, RecursionError, OverflowError):
        return False


def _equal(expected: Any, found: Any) -> bool:
    if isinstance(found, dict):
        [(tag, inside)] = found.items()
        if tag == "d" and isinstance(expected, dict):
            # JSON's keys are text; a program's may be numbers.
            named = {str(_key(key)): value for key, value in inside}
            return (
                len(named) == len(inside)
                and expected.keys() == named.keys()
                and all(_equal(value, named[key]) for key, value in expected.items())
            )
        if tag == "c":
            return not isinstance(expected, bool) and bool(complex(*inside) == expected)
        if tag != "t":
            return False
        found = inside
    if isinstance(expected, list | tuple) and isinstance(found, list):
        return len(expected) == len(found) and all(map(_equal, expected, found))
    if isinstance(expected, bool) or isinstance(found, bool):
        return expected is found
    return bool(expected == found)


def _key(found: Any) -> Any:
    """A dictionary's key; sets aren't rebuilt, as the program could choose numbers of the same hash."""
    if not isinstance(found, dict):
        return found
    [(tag, inside)] = found.items()
    if tag == "t":
        return tuple(map(_key, inside))
    if tag == "b":
        return bytes.fromhex(inside)
    if tag == "c":
        return complex(*inside)
    raise ValueError(tag)
