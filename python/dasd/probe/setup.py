"""The recipe and the stages of a probe: the recipe's own up to the student's scores, at a grid of temperatures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite

from dasd.errors import InputError
from dasd.probe.records import REFERENCE
from dasd.recipe import Recipe
from dasd.registry import Registry
from dasd.settings import OffPolicyStage, RecipeSettings, SelectSettings
from dasd.stages.base import Stage
from dasd.stages.graph import build_graph
from dasd.stages.quotas import ANY
from dasd.stages.sample import SampleStage

__all__ = [
    "is_probe",
    "probe_recipe",
    "probe_stages",
    "refuse_without_logprobs",
    "stage_name",
    "temperatures",
]

HIGHEST = 5.0
"""As a recipe's."""
_KINDS = ("questions", "sample", "filter", "dedup", "score")


def temperatures(wanted: Sequence[float]) -> tuple[float, ...]:
    """The grid in rising order, with temperature 1, which the others are compared with.

    Raises InputError for a number outside 0 to 5, one that is there twice, and for fewer than two in the end.
    """
    for value in wanted:
        if not isfinite(value) or not 0 <= value <= HIGHEST:
            raise InputError(f"temperatures: wanted numbers from 0 to {HIGHEST:g}; got {value:g}")
    rounded = [float(f"{value:g}") for value in wanted]
    twice = [value for number, value in enumerate(rounded) if value in rounded[:number]]
    if twice:
        raise InputError(f"temperatures: {twice[0]:g} is there twice; wanted each once")
    grid = tuple(sorted({*rounded, REFERENCE}))
    if len(grid) < 2:
        raise InputError(
            f"temperatures: wanted at least one other than 1, to compare with it; got "
            f"{', '.join(f'{value:g}' for value in wanted) or 'none'}"
        )
    return grid


def stage_name(temperature: float) -> str:
    """Name of the stage at that temperature: ``t0_6``."""
    return "t" + f"{temperature:g}".replace(".", "_").replace("-", "m")


def probe_recipe(recipe: Recipe, grid: Sequence[float], candidates: int) -> Recipe:
    """``recipe`` with one off-policy stage a temperature in place of its stages.

    Trainings matter for their context alone (filter ``length``): that of the first off-policy stage. The selector is
    ``divergence``, which says that raw log-probabilities of the teacher are needed; nothing is selected.
    Raises InputError for a recipe that samples no teacher.
    """
    settings = recipe.settings
    off_policy = [stage for stage in settings.stages if isinstance(stage, OffPolicyStage)]
    if not off_policy:
        raise InputError(
            f"recipe {settings.name} trains nothing, so it has no teacher to sample; wanted one with an off-policy stage"
        )
    if settings.data is not None:
        raise InputError(
            f"recipe {settings.name} takes its responses from another run (`data`); wanted one that samples the teacher"
        )
    if all(stage.samples for stage in off_policy):
        names = ", ".join(stage.name for stage in off_policy)
        raise InputError(
            f"recipe {settings.name} takes the teacher's responses from files (`samples` of stages {names}), at the "
            "temperatures that these were sampled at; a probe samples the teacher itself: wanted a recipe with an "
            "off-policy stage without `samples`"
        )
    stages = tuple(
        OffPolicyStage(name=stage_name(value), temperature=value, trainer=off_policy[0].trainer)
        for value in grid
    )
    return replace(
        recipe,
        settings=settings.model_copy(
            update={
                "name": f"{settings.name}-probe",
                "stages": stages,
                "sampling": settings.sampling.model_copy(update={"candidates": candidates}),
                "select": SelectSettings(selector="divergence", beta=settings.select.beta),
                "evaluation": settings.evaluation.model_copy(update={"heldout": 0}),
            }
        ),
    )


def is_probe(settings: RecipeSettings) -> bool:
    """Whether these are the settings of a probe, by what its stages are called."""
    return bool(settings.stages) and all(
        isinstance(stage, OffPolicyStage)
        and stage.name == stage_name(stage.temperature)
        and not stage.samples
        for stage in settings.stages
    )


def refuse_without_logprobs(registry: Registry, settings: RecipeSettings) -> None:
    """InputError for a backend that is known to give no log-probabilities of what it samples."""
    teacher = registry.backend(settings.teacher)
    if not teacher.gives_logprobs:
        raise InputError(
            f"teacher.backend: {teacher.label} gives no log-probabilities, and a probe compares responses by their "
            "probability under the teacher; wanted a backend that gives them, such as transformers"
        )


def probe_stages(recipe: Recipe, registry: Registry, questions: int) -> list[Stage]:
    """The stages of ``probe_recipe(...)`` up to the scores; every temperature asks the same ``questions`` at most.

    They are drawn from the training questions by the recipe's seed. Raises as ``build_graph``.
    """
    return [
        replace(stage, bounds={ANY: questions}) if isinstance(stage, SampleStage) else stage
        for stage in build_graph(recipe, registry)
        if stage.kind in _KINDS
    ]
