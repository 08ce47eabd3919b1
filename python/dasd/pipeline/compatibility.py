"""Whether a recipe's components exist, take its options and fit together: asked before anything is spent."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from dasd.base.suggest import did_you_mean
from dasd.errors import PluginError, RecipeError
from dasd.evaluation.terms import terms_of
from dasd.models.pool import backend_of
from dasd.pipeline.work.opened_teacher import logprobs_reader
from dasd.recipe.curation_settings import FilterSettings
from dasd.recipe.executor_settings import ExecutorSettings
from dasd.recipe.model_settings import ModelSettings
from dasd.recipe.question_settings import QuestionSource
from dasd.recipe.settings import RecipeSettings
from dasd.recipe.stage_settings import MixedPolicyStage, OffPolicyStage, OnPolicyStage
from dasd.recipe.training_settings import TrainerSettings
from dasd.recipe.verifier_settings import VerifierSettings

if TYPE_CHECKING:
    from dasd.plugins.registry import Registry


def check_recipe(registry: Registry, settings: RecipeSettings) -> None:
    """PluginError for a name that nobody registered, RecipeError for options and misfits."""
    for _, check in recipe_checks(registry, settings):
        check()


def recipe_checks(registry: Registry, settings: RecipeSettings) -> list[tuple[str, Callable[[], object]]]:
    """All that ``check_recipe`` checks, in its order, each with the key path that it is about.

    A check raises as ``check_recipe`` does; one may fail and the others still be made.
    """
    checks: list[tuple[str, Callable[[], object]]] = [
        ("student.backend", partial(_student, registry, settings)),
    ]
    if settings.asks_teacher:
        checks.insert(0, ("teacher.backend", partial(_teacher, registry, settings)))
    if settings.data is None:  # else nobody is sampled, and nothing selected
        checks = [
            *checks,
            ("stages", partial(_continues, registry, settings)),
            ("select.selector", partial(_logprobs, registry, settings)),
        ]
    options = registry.checked_options
    for section, sources in (
        ("questions.train", settings.questions.train),
        ("questions.eval", settings.questions.eval),
        ("dedup.against", settings.dedup.against),
        *((f"stages.{n}.sources", getattr(of, "sources", ())) for n, of in enumerate(settings.stages)),
    ):
        for index, source in enumerate(sources):
            key = f"{section}.{index}"
            checks.append((f"{key}.source", partial(_source, registry, source, key)))
    select = settings.select
    checks.append(
        ("select.selector", partial(options, "selector", select.selector, select.options, "select.options"))
    )
    for index, stage in enumerate(settings.stages):
        trainer = settings.trainer_for(stage)
        own = f"stages.{index}.trainer.options" if "options" in stage.trainer else "trainer.options"
        checks.append(("trainer.trainer", partial(options, "trainer", trainer.trainer, trainer.options, own)))
        checks.append((own, partial(_hosts, registry, settings.executor, trainer, own)))
        if isinstance(stage, OnPolicyStage):
            checks.append((f"stages.{index}", partial(_on_policy, registry, settings, stage, index)))
        if trainer.adapter is not None:
            where = f"stages.{index}.trainer" if {"adapter", "lora"} & stage.trainer.keys() else "trainer"
            checks.append((f"{where}.adapter", partial(_adapter, registry, settings.student, trainer, where)))
    evaluation = settings.evaluation
    checks.append(
        (
            "evaluation.evaluator",
            partial(options, "evaluator", evaluation.evaluator, evaluation.options, "evaluation.options"),
        )
    )
    executor = settings.executor
    if executor != ExecutorSettings():  # this machine needs nobody's registration
        checks.append(
            (
                "executor.executor",
                partial(options, "executor", executor.executor, executor.options, "executor.options"),
            )
        )
    for index, source in enumerate(settings.questions.eval):
        checks.append((f"questions.eval.{index}.source", partial(_evaluator, registry, settings, source)))
    checks += [
        ("filters.extra", partial(registry.component, "filter", name)) for name in settings.filters.extra
    ]
    checks += [
        (f"filters.options.{name}", partial(_filter, registry, settings.filters, name))
        for name in settings.filters.options
    ]
    return checks


def _source(registry: Registry, source: QuestionSource, key: str) -> None:
    """Its options, and those of the verifiers that these name."""
    found = registry.checked_options("questions", source.source, source.options, f"{key}.options")
    declared = registry.component("questions", source.source).options
    for name, field in (declared.model_fields if declared is not None else {}).items():
        if field.annotation is VerifierSettings and name in source.options:
            path = f"{key}.options.{name}"
            try:
                registry.check_verifier(VerifierSettings.model_validate(found[name]), path)
            except PluginError as error:
                raise PluginError(f"{path}: {error}") from error


def _filter(registry: Registry, filters: FilterSettings, name: str) -> None:
    """Options of one filter, which has to be applied."""
    key = f"filters.options.{name}"
    builtin = any(c.name == name and c.owner.distribution == "dasd" for c in registry.components("filter"))
    if name not in filters.extra and not builtin:
        raise RecipeError(
            f"{key}: filters.extra has no {name!r}"
            + did_you_mean(name, filters.extra, "; add it there, or take its options out")
        )
    registry.checked_options("filter", name, filters.options[name], key)


def _evaluator(registry: Registry, settings: RecipeSettings, source: QuestionSource) -> None:
    """Made once, so that what it needs and isn't installed is told of now."""
    how = terms_of(source, settings.evaluation, registry)
    registry.make_evaluator(how.evaluator, how.options)


def _hosts(registry: Registry, executor: ExecutorSettings, trainer: TrainerSettings, where: str) -> None:
    option = registry.component("trainer", trainer.trainer).hosts
    count = trainer.options.get(option) if option else None
    if count is None:
        return
    launching = [c.name for c in registry.components("executor") if c.launches]
    if executor.executor not in launching:
        raise RecipeError(
            f"{where}.{option}: {count} hosts of an executor are wanted, and executor {executor.executor!r} starts no "
            f"trainer; use one of {', '.join(launching) or 'those that plugins bring (docs/clusters.md)'} as "
            "executor.executor, or take the key out"
        )


def _adapter(registry: Registry, student: ModelSettings, trainer: TrainerSettings, where: str) -> None:
    component = registry.component("trainer", trainer.trainer)
    if not component.trains_adapters:
        able = ", ".join(c.name for c in registry.components("trainer") if c.trains_adapters)
        raise RecipeError(
            f"{where}.adapter: {component.label} trains no adapters; use one of {able}, or take the key out"
        )
    if find_spec("torch") is None or find_spec("transformers") is None:
        return  # told where the trainer is made
    from dasd.training.lora import adapter_size, require_peft

    require_peft()
    adapter_size(student, trainer.lora, f"{where}.lora.targets")


def _on_policy(registry: Registry, settings: RecipeSettings, stage: OnPolicyStage, index: int) -> None:
    """A trainer that takes the loss, and a teacher that tells as much as it needs."""
    component = registry.component("trainer", settings.trainer_for(stage).trainer)
    if not component.trains_on_policy:
        able = ", ".join(c.name for c in registry.components("trainer") if c.trains_on_policy)
        raise RecipeError(
            f"stages.{index}: {component.label} doesn't train on the student's own answers; use one of {able}, or take "
            "the on-policy stage out"
        )
    teacher = backend_of(registry, settings.teacher, "teacher")
    if not teacher.gives_logprobs:
        raise RecipeError(
            f"stages.{index}: {teacher.label} gives no log-probabilities, and an on-policy stage is made of them; use "
            "another teacher.backend"
        )
    if stage.loss != "sampled-reverse-kl" and not teacher.gives_top:
        raise RecipeError(
            f"stages.{index}.loss: {teacher.label} doesn't give the likeliest tokens of a position, which {stage.loss} "
            "compares; set it to sampled-reverse-kl, or use another teacher.backend"
        )


def _teacher(registry: Registry, settings: RecipeSettings) -> None:
    _options(registry, settings.teacher, "teacher")


def _student(registry: Registry, settings: RecipeSettings) -> None:
    student = backend_of(registry, settings.student, "student")
    if not student.runs_student:
        able = ", ".join(c.name for c in registry.components("teacher") if c.runs_student)
        raise RecipeError(f"student.backend: {student.label} can't run a student; use one of {able}")
    _options(registry, settings.student, "student")


def _options(registry: Registry, model: ModelSettings, section: str) -> None:
    if model.python is None:
        registry.checked_options("teacher", model.backend, model.options, f"{section}.options")
    else:
        backend_of(registry, model, section)  # the other environment checks them


def _continues(registry: Registry, settings: RecipeSettings) -> None:
    teacher = backend_of(registry, settings.teacher, "teacher")
    mixed = [stage.name for stage in settings.stages if isinstance(stage, MixedPolicyStage)]
    if mixed and not teacher.continues:
        raise RecipeError(
            f"stages.{mixed[0]}: {teacher.label} can't continue a student's answer; take the mixed-policy "
            "stage out, or use another teacher.backend"
        )


def _logprobs(registry: Registry, settings: RecipeSettings) -> None:
    teacher = backend_of(registry, settings.teacher, "teacher")
    reader = logprobs_reader(registry, settings)
    # Responses from a file bring their own; the sample stage refuses those that don't.
    samples = any(isinstance(stage, OffPolicyStage) and not stage.samples for stage in settings.stages)
    if samples and reader is not None and not teacher.gives_logprobs:
        raise RecipeError(f"{reader[0]}, and {teacher.label} gives none; {reader[1]}")
