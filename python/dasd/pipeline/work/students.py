"""The student after a training: which model to open, and what to call it in rows and identities."""

from __future__ import annotations

from dasd.models.files import model_identity
from dasd.pipeline.work.stage import StageContext
from dasd.plugins.recipe import Recipe
from dasd.recipe.model_settings import ModelSettings

__all__ = ["student_after", "student_identity", "student_name"]


def student_after(context: StageContext, train: str | None) -> ModelSettings:
    """The checkpoint of a training, run as the recipe runs the student; None: the student as it is."""
    student = context.recipe.settings.student
    if train is None:
        return student
    return student.model_copy(update={"model": str(context.inputs.artifact(train)), "revision": None})


def student_name(recipe: Recipe, train: str | None) -> str:
    """For rows: the same in every run directory, unlike the checkpoint's path."""
    return _after(recipe.settings.student.model, train)


def student_identity(recipe: Recipe, train: str | None) -> str:
    """For identities of responses: the same wherever the student lies, too."""
    return _after(model_identity(recipe.settings.student), train)


def _after(student: str, train: str | None) -> str:
    return student if train is None else f"{student} after {train}"
