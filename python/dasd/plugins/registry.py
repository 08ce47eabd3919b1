"""Registering of components, and factories that check what components return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, JsonValue, ValidationError

from dasd.base.plain_values import check_values
from dasd.errors import PluginError, RecipeError
from dasd.plugins import checked, registering
from dasd.plugins.catalogue import Catalogue
from dasd.plugins.checked_questions import CheckedQuestions
from dasd.plugins.components import (
    ROLES,
    Component,
    EvaluatorFactory,
    ExporterFactory,
    FilterFactory,
    OtherFactory,
    Owner,
    QuestionsFactory,
    Role,
    SelectorFactory,
    TeacherFactory,
    TrainerFactory,
    VerifierFactory,
)
from dasd.plugins.roles import Evaluator, Exporter, Filter, Selector, Teacher, Trainer
from dasd.recipe.curation_settings import FilterSettings, SelectSettings
from dasd.recipe.model_settings import ModelSettings
from dasd.recipe.training_settings import TrainerSettings
from dasd.recipe.verifier_settings import VerifierSettings

__all__ = [
    "ROLES",
    "Component",
    "EvaluatorFactory",
    "ExporterFactory",
    "FilterFactory",
    "Owner",
    "QuestionsFactory",
    "Registry",
    "Role",
    "SelectorFactory",
    "TeacherFactory",
    "TrainerFactory",
    "VerifierFactory",
]


_DECLARED: tuple[Role, ...] = ("filter", "evaluator", "verifier")
"""Roles whose components have options only where they say so: nobody else would look at them."""


class Registry(Catalogue):
    """Components of the built-ins and of the loaded plugins; what a plugin may call is ``registering.Registry``.

    ``owner`` is whoever registers through this object; a plugin fills a registry of its own, which the host
    merges when the plugin's hook has returned.
    """

    # -- registering -------------------------------------------------------------------------------

    def teacher(
        self,
        name: str,
        factory: TeacherFactory,
        *,
        options: type[BaseModel] | None = None,
        doc: str = "",
        runs_student: bool = True,
        continues: bool = True,
        gives_logprobs: bool = True,
        loads_model: bool = False,
        packages: Sequence[str] = (),
        extra: str = "",
    ) -> None:
        """As ``registering.Registry.teacher``."""
        self._add(
            "teacher",
            name,
            factory,
            options,
            doc,
            runs_student=runs_student,
            continues=continues,
            gives_logprobs=gives_logprobs,
            loads_model=loads_model,
            packages=packages,
            extra=extra,
        )

    def trainer(
        self,
        name: str,
        factory: TrainerFactory,
        *,
        options: type[BaseModel] | None = None,
        doc: str = "",
        trains_adapters: bool = False,
        packages: Sequence[str] = (),
        extra: str = "",
    ) -> None:
        """As ``registering.Registry.trainer``."""
        self._add(
            "trainer",
            name,
            factory,
            options,
            doc,
            trains_adapters=trains_adapters,
            packages=packages,
            extra=extra,
        )

    def evaluator(
        self,
        name: str,
        factory: EvaluatorFactory,
        *,
        options: type[BaseModel] | None = None,
        doc: str = "",
        grades_by_verifier: bool = False,
    ) -> None:
        """As ``registering.Registry.evaluator``."""
        self._add("evaluator", name, factory, options, doc, grades_by_verifier=grades_by_verifier)

    def selector(
        self,
        name: str,
        factory: SelectorFactory,
        *,
        options: type[BaseModel] | None = None,
        doc: str = "",
        needs_logprobs: bool = False,
        by_length: bool = False,
    ) -> None:
        """As ``registering.Registry.selector``."""
        self._add("selector", name, factory, options, doc, needs_logprobs=needs_logprobs, by_length=by_length)

    def filter(
        self, name: str, factory: FilterFactory, *, options: type[BaseModel] | None = None, doc: str = ""
    ) -> None:
        """As ``registering.Registry.filter``."""
        self._add("filter", name, factory, options, doc)

    def questions(
        self,
        name: str,
        factory: QuestionsFactory,
        *,
        options: type[BaseModel] | None = None,
        doc: str = "",
        argument: str | None = None,
        attempts: int | None = None,
        max_tokens: int | None = None,
        count: int | None = None,
        evaluator: str | None = None,
    ) -> None:
        """As ``registering.Registry.questions``."""
        declared = {
            "argument": argument,
            "attempts": attempts,
            "max_tokens": max_tokens,
            "count": count,
            "evaluator": evaluator,
        }
        self._add("questions", name, factory, options, doc, **declared)

    def verifier(
        self, name: str, factory: VerifierFactory, *, options: type[BaseModel] | None = None, doc: str = ""
    ) -> None:
        """As ``registering.Registry.verifier``."""
        self._add("verifier", name, factory, options, doc)

    def executor(
        self, name: str, factory: OtherFactory, *, options: type[BaseModel] | None = None, doc: str = ""
    ) -> None:
        """As ``registering.Registry.executor``."""
        self._add("executor", name, factory, options, doc)

    def exporter(
        self, name: str, factory: ExporterFactory, *, options: type[BaseModel] | None = None, doc: str = ""
    ) -> None:
        """As ``registering.Registry.exporter``."""
        self._add("exporter", name, factory, options, doc)

    # -- making ------------------------------------------------------------------------------------

    def _make(self, role: Role, name: str, *arguments: object) -> tuple[Any, Component]:
        component = self.component(role, name)
        with component.origin.blamed():
            try:
                return component.factory(*arguments), component
            except ImportError as error:
                install = f"pip install --upgrade {component.owner.distribution}"
                raise PluginError(f"{component.label} can't be used: {error}. Try: {install}") from error

    def make_teacher(self, settings: ModelSettings) -> Teacher:
        """Start the backend ``settings.backend`` in this environment; every frame that it yields is checked."""
        assert settings.python is None, (
            "another environment's backend: open_teacher of dasd.models.pool starts it"
        )
        options = self.checked_options("teacher", settings.backend, settings.options, "options")
        settings = settings.model_copy(update={"options": options})
        made, component = self._make("teacher", settings.backend, settings)
        checked.has_methods(made, ("sample", "continue_", "score", "close"), component.label)
        return checked.CheckedTeacher(made, component.origin)

    def make_trainer(self, settings: TrainerSettings) -> Trainer:
        """The trainer ``settings.trainer``."""
        options = self.checked_options("trainer", settings.trainer, settings.options, "trainer.options")
        settings = settings.model_copy(update={"options": options})
        made, component = self._make("trainer", settings.trainer, settings)
        checked.has_methods(made, ("train",), component.label)
        return checked.CheckedTrainer(made, component.origin)

    def make_evaluator(self, name: str, options: Mapping[str, JsonValue] | None = None) -> Evaluator:
        """The evaluator of that name; every frame that it yields is checked."""
        given = self._given("evaluator", name, options, "evaluation.options")
        made, component = self._make("evaluator", name, self, *given)
        checked.has_methods(made, ("evaluate",), component.label)
        return checked.CheckedEvaluator(made, component.origin)

    def make_selector(self, settings: SelectSettings, seed: int) -> Selector:
        """The selector ``settings.selector``; its ranks are checked for type and number."""
        options = self.checked_options("selector", settings.selector, settings.options, "select.options")
        settings = settings.model_copy(update={"options": options})
        made, component = self._make("selector", settings.selector, settings, seed)
        checked.has_methods(made, ("rank", "needs_student"), component.label)
        return checked.CheckedSelector(made, component.origin)

    def make_filter(self, name: str, settings: FilterSettings, max_length: int) -> Filter:
        """The filter of that name. ``max_length``: the training context in the student's tokens."""
        (options,) = self._given("filter", name, settings.options.get(name), f"filters.options.{name}") or (
            {},
        )
        settings = settings.model_copy(update={"options": {**settings.options, name: options}})
        made, component = self._make("filter", name, settings, max_length)
        checked.has_methods(made, ("judge",), component.label)
        return checked.CheckedFilter(made, component.origin)

    def make_questions(self, name: str) -> CheckedQuestions:
        """The source of questions of that name; its options and its frame are checked in ``load``."""
        made, component = self._make("questions", name)
        checked.has_methods(made, ("load",), component.label)
        return CheckedQuestions(
            made,
            component.origin,
            lambda options: self.checked_options("questions", name, options, "questions: options"),
        )

    def make_verifier(
        self, name: str, options: Mapping[str, JsonValue] | None = None
    ) -> checked.CheckedVerifier:
        """The verifier of that name."""
        given = self._given("verifier", name, options, "verifier.options")
        made, component = self._make("verifier", name, *given)
        checked.has_methods(made, ("grade",), component.label)
        return checked.CheckedVerifier(made, component.origin)

    def make_exporter(self, name: str, options: Mapping[str, JsonValue]) -> Exporter:
        """The exporter of that name with options that ``checked_options`` gave; what it returns is checked."""
        made, component = self._make("exporter", name, options)
        checked.has_methods(made, ("export",), component.label)
        return checked.CheckedExporter(made, component.origin)

    # -- checking a recipe -------------------------------------------------------------------------

    def checked_options(
        self, role: Role, name: str, options: Mapping[str, JsonValue], path: str
    ) -> dict[str, JsonValue]:
        """``options`` held against the component's own model, with its defaults filled in.

        RecipeError lists every problem by its key path below ``path``. A component without a model gets
        the options as they are and checks them itself; a filter, evaluator or verifier without one takes none.
        """
        component = self.component(role, name)
        if component.options is None:
            if options and role in _DECLARED:
                wrong = ", ".join(options)
                raise RecipeError(
                    f"options of {component.label}:\n  {path}: it takes no options, got {wrong}"
                )
            return dict(options)
        try:
            check_values(component.options, options)
            return component.options.model_validate(dict(options)).model_dump(mode="json")
        except ValidationError as error:
            from dasd.recipe.problems import describe

            problems = describe(error, component.options, path)
            raise RecipeError(f"options of {component.label}:\n" + "\n".join(problems)) from error

    def _given(
        self, role: Role, name: str, options: Mapping[str, JsonValue] | None, path: str
    ) -> tuple[dict[str, JsonValue], ...]:
        """The checked options, for the factory of a component that declares some; nothing for another's."""
        found = self.checked_options(role, name, options or {}, path)
        return (found,) if self.component(role, name).options is not None else ()

    def check_verifier(self, verifier: VerifierSettings, path: str = "verifier") -> None:
        """PluginError for a verifier that nobody registered, RecipeError for its options, by their ``path``."""
        self.checked_options("verifier", verifier.name, verifier.options, f"{path}.options")


if TYPE_CHECKING:
    _FOR_PLUGINS: registering.Registry = Registry()
    """Has mypy hold what plugins are given against what they are promised."""
