"""Whether the teacher gives what the recipe reads of it: what a server can do is known once it is opened and asked."""

from __future__ import annotations

from dasd.base.records import ModelInfo
from dasd.errors import RecipeError
from dasd.plugins.registry import Registry
from dasd.recipe.settings import RecipeSettings
from dasd.recipe.stage_settings import MixedPolicyStage, OffPolicyStage

__all__ = ["check_logprobs", "check_opened", "check_rounds", "logprobs_reader"]


def logprobs_reader(registry: Registry, settings: RecipeSettings) -> tuple[str, str] | None:
    """What reads the teacher's raw log-probabilities, and what to take instead, in words; None: nothing does."""
    selector = registry.component("selector", settings.select.selector)
    if not selector.needs_logprobs:
        return None
    able = ", ".join(c.name for c in registry.components("selector") if not c.needs_logprobs)
    return (
        f"select.selector: {selector.name!r} compares both models' raw log-probabilities",
        f"use one of {able}",
    )


def check_opened(registry: Registry, settings: RecipeSettings, info: ModelInfo) -> None:
    """RecipeError where the teacher that was opened can't do what the recipe wants of it later.

    What a server can do is known once it is asked.
    """
    check_logprobs(registry, settings, info)
    check_rounds(settings, info)
    mixed = [stage.name for stage in settings.stages if isinstance(stage, MixedPolicyStage)]
    if mixed and not info.continues:
        raise RecipeError(
            f"stages.{mixed[0]}: {info.model} on {info.engine} {info.engine_version} can't continue a student's "
            "answer; take the mixed-policy stage out, or use another server or teacher.backend"
        )


def check_rounds(settings: RecipeSettings, info: ModelInfo) -> None:
    """RecipeError where the teacher that was opened has nothing to say in an on-policy stage."""
    if settings.on_policy and info.logprobs_mode == "none":
        raise RecipeError(
            f"stages.{settings.on_policy[0].name}: {info.model} on {info.engine} {info.engine_version} gives no "
            "log-probabilities, and an on-policy stage is made of them; use another teacher.backend"
        )


def check_logprobs(registry: Registry, settings: RecipeSettings, info: ModelInfo) -> None:
    """RecipeError where the teacher that was opened gives other log-probabilities than the selector compares.

    A server's are known once it is asked. Those after the temperature are raw ones at temperature 1 and ``top_p`` 1.
    """
    reader = logprobs_reader(registry, settings)
    if reader is None or info.logprobs_mode == "raw":
        return
    got = "none" if info.logprobs_mode == "none" else "them after the temperature only"
    for index, stage in enumerate(settings.stages):
        if not isinstance(stage, OffPolicyStage) or stage.samples:
            continue
        if info.logprobs_mode == "none" or stage.temperature != 1 or settings.sampling.top_p != 1:
            raise RecipeError(
                f"{reader[0]}, and {info.model} on {info.engine} {info.engine_version} gives {got} (stages.{index}, "
                f"temperature {stage.temperature:g}); {reader[1]}"
            )
