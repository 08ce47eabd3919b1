"""Whether a recipe's components exist, take its options and fit together: asked before anything is spent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dasd.errors import RecipeError
from dasd.settings import MixedPolicyStage, OffPolicyStage, RecipeSettings

if TYPE_CHECKING:
    from dasd.registry import Registry


def check(registry: Registry, settings: RecipeSettings) -> None:
    """PluginError for a name that nobody registered, RecipeError for options and misfits."""
    _models(registry, settings)
    for split in ("train", "eval"):
        for index, source in enumerate(getattr(settings.questions, split)):
            path = f"questions.{split}.{index}.options"
            registry.checked_options("questions", source.source, source.options, path)
    registry.checked_options("selector", settings.select.selector, settings.select.options, "select.options")
    for index, stage in enumerate(settings.stages):
        trainer = settings.trainer_for(stage)
        own = f"stages.{index}.trainer.options" if "options" in stage.trainer else "trainer.options"
        registry.checked_options("trainer", trainer.trainer, trainer.options, own)
    registry.component("evaluator", settings.evaluation.evaluator)
    for name in settings.filters.extra:
        registry.component("filter", name)


def _models(registry: Registry, settings: RecipeSettings) -> None:
    teacher = registry.component("teacher", settings.teacher.backend)
    registry.checked_options("teacher", teacher.name, settings.teacher.options, "teacher.options")
    student = registry.component("teacher", settings.student.backend)
    if not student.runs_student:
        able = ", ".join(c.name for c in registry.components("teacher") if c.runs_student)
        raise RecipeError(f"student.backend: {student.label} can't run a student; use one of {able}")
    registry.checked_options("teacher", student.name, settings.student.options, "student.options")
    mixed = [stage.name for stage in settings.stages if isinstance(stage, MixedPolicyStage)]
    if mixed and not teacher.continues:
        raise RecipeError(
            f"stages.{mixed[0]}: {teacher.label} can't continue a student's answer; take the mixed-policy "
            "stage out, or use another teacher.backend"
        )
    selector = registry.component("selector", settings.select.selector)
    # Responses from a file bring their own; the sample stage refuses those that don't.
    samples = any(isinstance(stage, OffPolicyStage) and not stage.samples for stage in settings.stages)
    if samples and selector.needs_logprobs and not teacher.gives_logprobs:
        able = ", ".join(c.name for c in registry.components("selector") if not c.needs_logprobs)
        raise RecipeError(
            f"select.selector: {selector.name!r} compares both models' log-probabilities, "
            f"and {teacher.label} gives none; use one of {able}"
        )
