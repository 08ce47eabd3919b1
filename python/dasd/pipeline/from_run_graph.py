"""The first stages of a recipe with ``data``: everything that another recipe samples, filters, scores and selects."""

from __future__ import annotations

from dasd.pipeline.stages.from_run import TakenHeldoutStage, TakenSamplesStage, TakenSelectStage
from dasd.pipeline.stages.source_run import HELDOUT, has_heldout
from dasd.pipeline.work.stage import Stage
from dasd.plugins.recipe import Recipe
from dasd.recipe.stage_settings import OffPolicyStage

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
