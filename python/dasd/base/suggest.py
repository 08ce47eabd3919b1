"""What somebody who wrote an unknown name may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest"]


def nearest(wanted: str, known: Iterable[str]) -> str | None:
    """The known name that is most like ``wanted``; None where none is like it."""
    return next(iter(difflib.get_close_matches(wanted, list(known), n=1)), None)


def did_you_mean(wanted: str, known: Iterable[str], otherwise: str = ".") -> str:
    """``"; did you mean 'x'?"`` for the known name nearest to ``wanted``, or ``otherwise``."""
    name = nearest(wanted, known)
    return f"; did you mean {name!r}?" if name is not None else otherwise
