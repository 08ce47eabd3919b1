"""The first stages of a recipe with ``data``: everything that another recipe samples, filters, scores and selects."""

from __future__ import annotations

from dasd.loaded_recipe import Recipe
from dasd.settings import OffPolicyStage
from dasd.stages.base import Stage
from dasd.stages.source_run import HELDOUT, has_heldout
from dasd.stages.taken import TakenHeldoutStage, TakenSamplesStage, TakenSelectStage

__all__ = ["taken_heldout", "taken_stages"]


def taken_heldout(recipe: Recipe) -> str | None:
    """Stage of the teacher's held-out responses; None where there is nothing to compare, or the other run has none."""
    settings = recipe.settings
    wanted = settings.questions.eval and settings.evaluation.heldout
    return HELDOUT if wanted and has_heldout(settings) else None


def taken_stages(recipe: Recipe) -> list[Stage]:
    """What stands between the questions and the trainings."""
    off_policy = [stage for stage in recipe.settings.stages if isinstance(stage, OffPolicyStage)]
    stages: list[Stage] = [TakenSamplesStage(recipe, stage) for stage in off_policy]
    if taken_heldout(recipe):
        stages.append(TakenHeldoutStage(recipe))
    return [*stages, *(TakenSelectStage(recipe, stage) for stage in off_policy)]
