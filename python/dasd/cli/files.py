"""A recipe narrowed to files of responses: what ``dasd filter FILE...`` and its like run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dasd.curation.sources.rows import QUESTION_COLUMNS
from dasd.curation.sources.values import ValueFile
from dasd.plugins.recipe import Recipe
from dasd.recipe.question_settings import QuestionSource
from dasd.recipe.stage_settings import OffPolicyStage

__all__ = ["narrowed"]


def narrowed(recipe: Recipe, files: Sequence[Path]) -> Recipe:
    """The recipe with its first off-policy stage alone, whose samples are ``files``.

    Files that bring their questions are the sources of the training questions too; to a file with question
    ids only, the recipe's own sources belong. Raises InputError for a file that is missing or torn.
    """
    settings = recipe.settings
    paths = [path.expanduser().absolute() for path in files]
    stage = next(stage for stage in settings.stages if isinstance(stage, OffPolicyStage))
    asked = [path for path in paths if _brings_questions(path)]
    own = tuple(QuestionSource(source="file", options={"path": str(path), "repeats": True}) for path in asked)
    train = own if len(own) == len(paths) else (*own, *settings.questions.train)
    return replace(
        recipe,
        settings=settings.model_copy(
            update={
                "stages": (stage.model_copy(update={"samples": tuple(map(str, paths))}),),
                "questions": settings.questions.model_copy(update={"train": train}),
                # The teacher's answers to evaluation questions serve the trainings alone.
                "evaluation": settings.evaluation.model_copy(update={"heldout": 0}),
            }
        ),
    )


def _brings_questions(path: Path) -> bool:
    """Whether the first row that can be read has a question."""
    for _, value in ValueFile(path, "response"):
        if isinstance(value, dict):
            return any(value.get(column) is not None for column in QUESTION_COLUMNS)
    return False
