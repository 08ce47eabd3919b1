"""What is registered: roles, the signatures of their factories, and the record of one component."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel

from dasd.api import Evaluator, Filter, Questions, Selector, Teacher, Trainer, Verifier
from dasd.settings import FilterSettings, ModelSettings, SelectSettings, TrainerSettings

if TYPE_CHECKING:
    from dasd.registry import Registry

Role = Literal[
    "teacher", "trainer", "evaluator", "selector", "filter", "questions", "verifier", "executor", "exporter"
]
ROLES: tuple[Role, ...] = get_args(Role)

TeacherFactory = Callable[[ModelSettings], Teacher]
TrainerFactory = Callable[[TrainerSettings], Trainer]
EvaluatorFactory = Callable[["Registry"], Evaluator]
SelectorFactory = Callable[[SelectSettings, int], Selector]
FilterFactory = Callable[[FilterSettings, int], Filter]
QuestionsFactory = Callable[[], Questions]
VerifierFactory = Callable[[], Verifier]
OtherFactory = Callable[..., object]


@dataclass(frozen=True, slots=True)
class Owner:
    """The plugin that registers: its entry point's name, its distribution and version."""

    plugin: str
    distribution: str
    version: str

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
    runs_student: bool
    """Teachers only: whether the student can run on this backend too."""
    continues: bool
    """Teachers only: whether it can go on from a prefix, which mixed-policy stages need."""
    gives_logprobs: bool
    """Teachers only: whether samples carry log-probabilities."""
    needs_logprobs: bool
    """Selectors only: whether the rank compares the teacher's log-probabilities with the student's."""

    @property
    def label(self) -> str:
        """How messages call it, e.g. ``teacher 'echo' (plugin dasd-echo)``."""
        return f"{self.role} {self.name!r} (plugin {self.owner.distribution})"
