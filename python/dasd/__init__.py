"""Distribution-Aligned Sequence Distillation.

``dasd.Pipeline.from_recipe(recipe).run(directory)`` runs a recipe, ``dasd.Run.open(directory)`` reads a run,
``dasd.kernels`` are the array functions. All of them are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dasd import kernels
    from dasd.pipeline.runner import Pipeline
    from dasd.plugins.recipe import Recipe
    from dasd.store import Run
    from dasd.version import __version__

__all__ = ["Pipeline", "Recipe", "Run", "__version__", "kernels"]

_HOMES = {
    "Pipeline": "dasd.pipeline.runner",
    "Recipe": "dasd.plugins.recipe",
    "Run": "dasd.store",
    "__version__": "dasd.version",
}


def __getattr__(name: str) -> object:
    if name == "kernels":
        return import_module("dasd.kernels")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'dasd' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
