"""Which peers are installed; those that are not are named and left out."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

from benchmarks.table import Contender


def installed(module: str) -> bool:
    """Whether the module can be imported."""
    return importlib.util.find_spec(module) is not None


def gather(wanted: dict[str, Callable[[], list[Contender]]], left_out: list[str]) -> list[Contender]:
    """The contenders of each importable module, in order; the other modules' names go to ``left_out``.

    Args:
        wanted: by module name, what makes its contenders; called only if the module can be imported.
        left_out: extended in place.
    """
    contenders = []
    for module, make in wanted.items():
        if not installed(module):
            if module not in left_out:
                left_out.append(module)
        else:
            contenders += make()
    return contenders
