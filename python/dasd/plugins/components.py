"""What is registered: roles, the signatures of their factories, and the record of one component."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, JsonValue

from dasd.errors import PluginError
from dasd.plugins.blame import Origin
from dasd.plugins.roles import (
    Evaluator,
    Executor,
    Exporter,
    Filter,
    Questions,
    Selector,
    Teacher,
    Trainer,
    Verifier,
)
from dasd.recipe.curation_settings import FilterSettings, SelectSettings
from dasd.recipe.model_settings import ModelSettings
from dasd.recipe.training_settings import TrainerSettings

Role = Literal[
    "teacher", "trainer", "evaluator", "selector", "filter", "questions", "verifier", "executor", "exporter"
]
ROLES: tuple[Role, ...] = get_args(Role)

TeacherFactory = Callable[[ModelSettings], Teacher]
TrainerFactory = Callable[[TrainerSettings], Trainer]
EvaluatorFactory = Callable[..., Evaluator]
"""Takes the registry; with ``options=`` its options too."""
SelectorFactory = Callable[[SelectSettings, int], Selector]
FilterFactory = Callable[[FilterSettings, int], Filter]
QuestionsFactory = Callable[[], Questions]
VerifierFactory = Callable[..., Verifier]
"""Takes nothing; with ``options=`` its options."""
ExporterFactory = Callable[[Mapping[str, JsonValue]], Exporter]
ExecutorFactory = Callable[..., Executor]
"""Takes nothing; with ``options=`` its options."""


class Options(BaseModel):
    """Base of a component's options: unknown keys are refused. By itself, of a component that has none."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Owner:
    """The plugin that registers: its entry point's name, its distribution and version."""

    plugin: str
    distribution: str
    version: str
    modules: tuple[str, ...] = ()
    """Top-level modules that it was loaded from."""

    def __str__(self) -> str:
        return f"plugin {self.plugin} ({self.distribution} {self.version})"


@dataclass(frozen=True, slots=True)
class Component:
    """One registered component."""

    role: Role
    name: str
    factory: Callable[..., Any]
    owner: Owner
    doc: str
    options: type[BaseModel] | None
    runs_student: bool = True
    """Teachers only: whether the student can run on this backend too."""
    continues: bool = True
    """Teachers only: whether it can go on from a prefix, which mixed-policy stages need."""
    gives_logprobs: bool = True
    """Teachers only: whether samples carry log-probabilities."""
    gives_top: bool = False
    """Teachers only: whether it gives the likeliest tokens of each position that it scores."""
    loads_model: bool = False
    """Teachers only: whether the model's weights are loaded onto this run's own devices."""
    concurrency: str = ""
    """Teachers only: the option that says how many requests it works on at a time; "": it takes lists."""
    engines: str = ""
    """Teachers and executors only: the option that says how many engines work side by side, a number or a list."""
    packages: Sequence[str] = ()
    """Teachers and trainers only: top-level packages without which it can't start."""
    extra: str = ""
    """Teachers and trainers only: extra of its distribution that installs ``packages``; "": none needed."""
    needs_logprobs: bool = False
    """Selectors only: whether the rank compares the teacher's log-probabilities with the student's."""
    by_length: bool = False
    """Selectors only: whether it is meant to prefer the longest, so that this is nothing to warn of."""
    grades_by_verifier: bool = False
    """Evaluators only: whether it needs an answer and a verifier of every question."""
    trains_adapters: bool = False
    """Trainers only: whether it does what ``trainer.adapter`` asks for."""
    hosts: str = ""
    """Trainers only: the option that says on how many hosts of the executor it trains; "": on this machine alone."""
    launches: bool = False
    """Executors only: whether it starts the processes of a training on its hosts."""
    trains_on_policy: bool = False
    """Trainers only: whether it takes ON_POLICY_TRAIN rows and the loss ``TrainSpec.on_policy``."""
    argument: str | None = None
    """Sources of questions only: the option that VALUE of ``--benchmarks NAME:VALUE`` sets."""
    attempts: int | None = None
    """Sources of questions only: answers a question where the recipe's source says nothing (k of avg@k)."""
    max_tokens: int | None = None
    """Sources of questions only: cap on an answer's new tokens where the recipe's source says nothing."""
    count: int | None = None
    """Sources of questions only: about how many it holds, which a plan counts with where they can't be had."""
    evaluator: str | None = None
    """Sources of questions only: the evaluator that its evaluation questions need; None: the recipe's."""

    def __post_init__(self) -> None:
        """PluginError where what a source of questions declares can't be meant."""
        registers = f"{self.owner} registers {self.role} {self.name!r} with"
        if self.argument is not None and self.options is not None:
            known = ", ".join(self.options.model_fields)
            if self.argument not in self.options.model_fields:
                raise PluginError(
                    f"{registers} argument={self.argument!r}; wanted one of its options: {known}"
                )
        for key in ("attempts", "max_tokens", "count"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise PluginError(f"{registers} {key}={value}; wanted at least 1")
        if isinstance(self.packages, str) or not all(name.isidentifier() for name in self.packages):
            raise PluginError(
                f"{registers} packages={self.packages!r}; wanted names of top-level packages, in a list"
            )

    @property
    def label(self) -> str:
        """How messages call it, e.g. ``teacher 'echo' (plugin dasd-echo)``."""
        return f"{self.role} {self.name!r} (plugin {self.owner.distribution})"

    @property
    def speed_options(self) -> tuple[str, ...]:
        """Names of the options that are marked ``json_schema_extra={"speed": True}``."""
        fields = self.options.model_fields if self.options is not None else {}
        extras = {name: field.json_schema_extra for name, field in fields.items()}
        return tuple(
            name for name, extra in extras.items() if isinstance(extra, dict) and extra.get("speed") is True
        )

    @property
    def install(self) -> str:
        """The command that installs ``packages``."""
        extra = f"[{self.extra}]" if self.extra else ""
        return f"pip install --upgrade '{self.owner.distribution}{extra}'"

    @property
    def origin(self) -> Origin:
        """Whom to blame for what its code raises."""
        builtin = self.owner.distribution == "dasd"
        return Origin(self.label, None if builtin else f"{self.owner.distribution} {self.owner.version}")
