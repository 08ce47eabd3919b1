"""The student after a training: which model to open, and what to call it in rows."""

from __future__ import annotations

from dasd.recipe import Recipe
from dasd.settings import ModelSettings
from dasd.stages.base import StageContext

__all__ = ["student_after", "student_name"]


def student_after(context: StageContext, train: str | None) -> ModelSettings:
    """The checkpoint of a training, run as the recipe runs the student; None: the student as it is."""
    student = context.recipe.settings.student
    if train is None:
        return student
    return student.model_copy(update={"model": str(context.inputs.artifact(train)), "revision": None})


def student_name(recipe: Recipe, train: str | None) -> str:
    """The same in every run directory, unlike the checkpoint's path."""
    student = recipe.settings.student.model
    return student if train is None else f"{student} after {train}"
