"""Registering of components, and factories that check what components return."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from pydantic import JsonValue, ValidationError

from dasd.base.plain_values import check_values
from dasd.errors import PluginError, RecipeError
from dasd.plugins import checked, registering
from dasd.plugins.blame import Origin
from dasd.plugins.catalogue import Catalogue
from dasd.plugins.checked_executor import CheckedExecutor
from dasd.plugins.checked_questions import CheckedQuestions
from dasd.plugins.checked_teacher import CheckedTeacher
from dasd.plugins.components import Role
from dasd.plugins.roles import Evaluator, Exporter, Filter, OpenedTeacher, Questions, Selector, Trainer
from dasd.recipe.curation_settings import FilterSettings, SelectSettings
from dasd.recipe.executor_settings import ExecutorSettings
from dasd.recipe.model_settings import ModelSettings
from dasd.recipe.training_settings import TrainerSettings
from dasd.recipe.verifier_settings import VerifierSettings

__all__ = ["Registry"]

CheckedT = TypeVar("CheckedT")

_DECLARED: tuple[Role, ...] = ("filter", "evaluator", "verifier", "executor")
"""Roles whose components have options only where they say so: nobody else would look at them."""


class Registry(Catalogue, registering.Registry):
    """Components of the built-ins and of the loaded plugins; what a plugin may call is ``registering.Registry``.

    ``owner`` is whoever registers through this object; a plugin fills a registry of its own, which the host
    merges when the plugin's hook has returned.
    """

    # -- making ------------------------------------------------------------------------------------

    def _make(
        self, wrapped: Callable[[Any, Origin], CheckedT], role: Role, name: str, *arguments: object
    ) -> CheckedT:
        """What the component's factory makes of ``arguments``, in its wrapper."""
        component = self.component(role, name)
        with component.origin.blamed():
            try:
                made = component.factory(*arguments)
            except ImportError as error:
                install = f"pip install --upgrade {component.owner.distribution}"
                raise PluginError(f"{component.label} can't be used: {error}. Try: {install}") from error
        return wrapped(made, component.origin)

    def make_teacher(self, settings: ModelSettings) -> OpenedTeacher:
        """Start the backend ``settings.backend`` in this environment; every frame that it yields is checked."""
        assert settings.python is None, (
            "another environment's backend: open_teacher of dasd.models.pool starts it"
        )
        options = self.checked_options("teacher", settings.backend, settings.options, "options")
        settings = settings.model_copy(update={"options": options})
        gives_top = self.component("teacher", settings.backend).gives_top
        checked_teacher = partial(CheckedTeacher, gives_top=gives_top)
        return self._make(checked_teacher, "teacher", settings.backend, settings)

    def make_trainer(self, settings: TrainerSettings) -> Trainer:
        """The trainer ``settings.trainer``."""
        options = self.checked_options("trainer", settings.trainer, settings.options, "trainer.options")
        settings = settings.model_copy(update={"options": options})
        return self._make(checked.CheckedTrainer, "trainer", settings.trainer, settings)

    def make_evaluator(self, name: str, options: Mapping[str, JsonValue] | None = None) -> Evaluator:
        """The evaluator of that name; every frame that it yields is checked."""
        given = self._given("evaluator", name, options, "evaluation.options")
        return self._make(checked.CheckedEvaluator, "evaluator", name, self, *given)

    def make_selector(self, settings: SelectSettings, seed: int) -> Selector:
        """The selector ``settings.selector``; its ranks are checked for type and number."""
        options = self.checked_options("selector", settings.selector, settings.options, "select.options")
        settings = settings.model_copy(update={"options": options})
        return self._make(checked.CheckedSelector, "selector", settings.selector, settings, seed)

    def make_filter(self, name: str, settings: FilterSettings, max_length: int) -> Filter:
        """The filter of that name. ``max_length``: the training context in the student's tokens."""
        options = self.checked_options(
            "filter", name, settings.options.get(name, {}), f"filters.options.{name}"
        )
        settings = settings.model_copy(update={"options": {**settings.options, name: options}})
        return self._make(checked.CheckedFilter, "filter", name, settings, max_length)

    def make_questions(self, name: str) -> CheckedQuestions:
        """The source of questions of that name; its options and its frame are checked in ``load``."""

        def wrapped(made: Questions, origin: Origin) -> CheckedQuestions:
            return CheckedQuestions(
                made,
                origin,
                lambda options: self.checked_options("questions", name, options, "questions: options"),
            )

        return self._make(wrapped, "questions", name)

    def make_verifier(
        self, name: str, options: Mapping[str, JsonValue] | None = None
    ) -> checked.CheckedVerifier:
        """The verifier of that name."""
        given = self._given("verifier", name, options, "verifier.options")
        return self._make(checked.CheckedVerifier, "verifier", name, *given)

    def make_executor(self, settings: ExecutorSettings) -> CheckedExecutor:
        """The executor of section ``executor``; the engines that it opens are checked."""
        given = self._given("executor", settings.executor, settings.options, "executor.options")
        return self._make(CheckedExecutor, "executor", settings.executor, *given)

    def make_exporter(self, name: str, options: Mapping[str, JsonValue]) -> Exporter:
        """The exporter of that name with options that ``checked_options`` gave; what it returns is checked."""
        return self._make(checked.CheckedExporter, "exporter", name, options)

    # -- checking a recipe -------------------------------------------------------------------------

    def checked_options(
        self, role: Role, name: str, options: Mapping[str, JsonValue], path: str
    ) -> dict[str, JsonValue]:
        """``options`` held against the component's own model, with its defaults filled in.

        RecipeError lists every problem by its key path below ``path``. A component without a model gets
        the options as they are and checks them itself; a filter, evaluator, verifier or executor without one takes
        none.
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
