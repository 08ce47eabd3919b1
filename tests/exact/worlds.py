"""Recipes over tabular models, run by the real pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.exact.engine import make_registry
from tests.exact.models import SYSTEM, Models
from tests.stage_run import merged

from dasd.base.progress import Console
from dasd.pipeline.runner import Pipeline
from dasd.plugins.recipe import Recipe
from dasd.store import Run

__all__ = ["STUDENT", "TEACHER", "run_world"]

TEACHER: dict[str, Any] = {"table": "teacher", "bits": 2, "depth": 3}
STUDENT: dict[str, Any] = {"table": "student", "bits": 4, "depth": 5, "floor": 1}
"""Every word is possible everywhere, so that no KL is infinite."""


def run_world(place: Path, models: Models, until: str, **changes: Any) -> Run:
    """Run a recipe with nested ``changes`` in ``place`` up to the stage ``until``."""
    recipe: dict[str, Any] = {
        "name": "exact",
        "seed": 11,
        "teacher": {"model": str(models.teacher), "backend": "tabular", "options": TEACHER},
        "student": {"model": str(models.student), "backend": "tabular", "options": STUDENT},
        "questions": {"system_prompt": SYSTEM, "train": [{"source": "numbers", "count": 2}]},
        "sampling": {"candidates": 4, "max_tokens": 60, "chunk": 500},
        "filters": {"structure": "any", "repetition": False},
        "dedup": {"exact": False, "near": False, "contamination": None},
        "stages": [{"name": "high", "kind": "off-policy", "temperature": 1.0}],
        "trainer": {"trainer": "copying", "max_length": 96, "device": "cpu", "precision": "fp32"},
        "evaluation": {"evaluator": "none", "attempts": 1, "heldout": 5000},
    }
    whole = merged(recipe, changes)
    for role in ("teacher", "student"):  # another backend's options replace a table's
        whole[role]["options"] = changes.get(role, {}).get("options", recipe[role]["options"])
    pipeline = Pipeline(Recipe.load(whole), make_registry(), console=Console(quiet=True))
    return pipeline.run(place, until=until)
