"""What a plugin's ``dasd_register`` gets: the methods by which it registers, and what its factories may ask for.

``dasd.plugins.registry`` has the one that is given; dasd itself uses more of it than plugins may.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from pydantic import BaseModel, JsonValue

from dasd.plugins.components import (
    EvaluatorFactory,
    ExecutorFactory,
    ExporterFactory,
    FilterFactory,
    QuestionsFactory,
    Role,
    SelectorFactory,
    TeacherFactory,
    TrainerFactory,
    VerifierFactory,
)
from dasd.plugins.roles import Evaluator, Verifier

__all__ = ["Registry"]


class Registry(Protocol):
    """Registers components by name; an evaluator's factory gets it too, for the components of others.

    Whatever is registered may have ``options``, a pydantic model of its options in the recipe, and ``doc``, a line for
    ``dasd plugins``. PluginError is raised for what can't be registered.
    """

    def _add(
        self,
        role: Role,
        name: str,
        factory: Callable[..., Any],
        options: type[BaseModel] | None,
        doc: str,
        **declared: Any,
    ) -> None: ...

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
        gives_top: bool = False,
        loads_model: bool = False,
        concurrency: str = "",
        engines: str = "",
        packages: Sequence[str] = (),
        extra: str = "",
    ) -> None:
        """Register an inference backend. ``options`` checks ``teacher.options`` / ``student.options``.

        ``runs_student``: it can answer and score as the student too; ``continues``: it can go on from a
        prefix; ``gives_logprobs``: its samples carry log-probabilities; ``gives_top``: its scores hold the
        likeliest tokens of each position where these are asked for (``ScoringSpec.top``). A recipe that needs one of
        these and doesn't get it is refused before anything runs. For plans: ``loads_model``: the model's weights are
        loaded onto this run's own devices; ``concurrency``: of one that reads requests as it has room
        (``ModelInfo.concurrency``) the option that says how many it works on at a time; ``engines``: the option that
        says how many engines work side by side, a number or a list with an entry for each; ``packages``: the top-level
        packages without which it can't start, and ``extra``, the extra of its distribution that installs them.
        """
        self._add(
            "teacher",
            name,
            factory,
            options,
            doc,
            runs_student=runs_student,
            continues=continues,
            gives_logprobs=gives_logprobs,
            gives_top=gives_top,
            loads_model=loads_model,
            concurrency=concurrency,
            engines=engines,
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
        trains_on_policy: bool = False,
        hosts: str = "",
        packages: Sequence[str] = (),
        extra: str = "",
    ) -> None:
        """Register a trainer. ``options`` checks ``trainer.options``.

        ``trains_adapters``: it does what ``trainer.adapter`` asks for; with another trainer a recipe that sets
        this key is refused before anything runs. ``trains_on_policy``: it takes ON_POLICY_TRAIN rows, with the loss
        ``TrainSpec.on_policy``; with another one a recipe that has an on-policy stage is refused. ``hosts``: the option
        that says on how many hosts of the run's executor (``TrainSpec.hosts``) it trains; with an executor that starts
        no trainer, a recipe that sets it is refused. ``packages`` and ``extra`` as with a teacher.
        """
        self._add(
            "trainer",
            name,
            factory,
            options,
            doc,
            trains_adapters=trains_adapters,
            trains_on_policy=trains_on_policy,
            hosts=hosts,
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
        """Register an evaluator. ``options`` checks ``evaluation.options``, which the factory takes after the registry.

        ``grades_by_verifier``: it grades by each question's verifier, so that a question without one, or without an
        answer that this can read, is told of before the run.
        """
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
        """Register a selector; the factory takes section ``select`` and a seed.

        ``needs_logprobs``: its rank uses what is computed from the teacher's log-probabilities (``teacher``,
        ``mean_delta`` ...), so a teacher without them is refused. ``by_length``: it is meant to prefer the longest
        response; of any other that does so in nearly every question the user is warned.
        """
        self._add("selector", name, factory, options, doc, needs_logprobs=needs_logprobs, by_length=by_length)

    def filter(
        self, name: str, factory: FilterFactory, *, options: type[BaseModel] | None = None, doc: str = ""
    ) -> None:
        """Register a filter; the factory takes section ``filters`` and the training context in tokens.

        ``options`` checks ``filters.options.NAME``, which the factory finds in the section with defaults filled in.
        """
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
        """Register a source of questions. ``options`` checks the source's ``options``.

        ``argument``: the option that VALUE of ``dasd evaluate MODEL --benchmarks NAME:VALUE`` sets;
        ``attempts`` and ``max_tokens``: answers a question and cap on an answer's new tokens for evaluation
        questions of this source, where the recipe's source doesn't say; ``count``: about how many it holds, for
        plans on a machine where ``load`` raises NotHereError; ``evaluator``: name of the evaluator
        that its evaluation questions need (None: the recipe's ``evaluation.evaluator``). Raises PluginError
        for an ``argument`` that is no option of the source, and for numbers below 1.
        """
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
        """Register a verifier: what stands before the first colon of a question's ``verifier``, or its ``name``.

        ``options`` checks those of the question's or its source's ``verifier``; the factory takes them.
        """
        self._add("verifier", name, factory, options, doc)

    def executor(
        self,
        name: str,
        factory: ExecutorFactory,
        *,
        options: type[BaseModel] | None = None,
        doc: str = "",
        engines: str = "",
        launches: bool = False,
    ) -> None:
        """Register an executor. ``options`` checks ``executor.options``, which the factory takes.

        ``engines`` as with a teacher; ``launches``: it is a ``LaunchingExecutor``, which starts the processes of a
        training too.
        """
        self._add("executor", name, factory, options, doc, engines=engines, launches=launches)

    def exporter(
        self, name: str, factory: ExporterFactory, *, options: type[BaseModel] | None = None, doc: str = ""
    ) -> None:
        """Register an exporter: a format of ``dasd export --to``; the factory takes its options.

        ``options`` checks them and fills in their defaults.
        """
        self._add("exporter", name, factory, options, doc)

    def make_verifier(self, name: str, options: Mapping[str, JsonValue] | None = None) -> Verifier:
        """The verifier of that name, for an evaluator; what it returns is checked.

        Raises PluginError for one that nobody registered, RecipeError for options that it doesn't take.
        """
        ...

    def make_evaluator(self, name: str, options: Mapping[str, JsonValue] | None = None) -> Evaluator:
        """The evaluator of that name, for one that leaves questions of other sources to it; its frames are checked."""
        ...
