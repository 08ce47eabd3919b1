"""On which terms the questions of each evaluation source are evaluated: by whom, how often, with which cap on tokens.

The one place where a source's own keys, what its plugin registered and section ``evaluation`` meet. A benchmark is
known by its label: ``source`` in QUESTIONS, ``benchmark`` in EVAL and METRICS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import JsonValue

from dasd.recipe.evaluation_settings import EvaluationSettings
from dasd.recipe.question_settings import QuestionSource
from dasd.recipe.settings import RecipeSettings

if TYPE_CHECKING:
    from dasd.plugins.registry import Registry

__all__ = [
    "EvaluationTerms",
    "all_terms",
    "default_terms",
    "grades_by_verifier",
    "terms_by_label",
    "terms_of",
]


@dataclass(frozen=True, slots=True)
class EvaluationTerms:
    """How the questions of one source are evaluated."""

    evaluator: str
    """By its registered name."""
    attempts: int
    """Answers a question."""
    max_tokens: int
    """Cap on the new tokens of an answer, in the student's tokens."""
    options: Mapping[str, JsonValue] = field(default_factory=dict)
    """The evaluator's own, as the recipe gives them."""


def terms_of(source: QuestionSource, evaluation: EvaluationSettings, registry: Registry) -> EvaluationTerms:
    """The source's own keys first, then what it was registered with, then section ``evaluation``.

    Raises PluginError for a source that nobody registered.
    """
    registered = registry.component("questions", source.source)
    evaluator = registered.evaluator or evaluation.evaluator
    return EvaluationTerms(
        evaluator,
        source.attempts or registered.attempts or evaluation.attempts,
        source.max_tokens or registered.max_tokens or evaluation.max_tokens,
        evaluation.options if evaluator == evaluation.evaluator else {},
    )


def grades_by_verifier(evaluator: str, registry: Registry) -> bool:
    """Whether an evaluator needs an answer and a verifier of every question; False for one that isn't there."""
    known = evaluator in registry.names("evaluator")
    return known and registry.component("evaluator", evaluator).grades_by_verifier


def default_terms(evaluation: EvaluationSettings) -> EvaluationTerms:
    """How questions of no known source are evaluated: as section ``evaluation`` says."""
    return EvaluationTerms(
        evaluation.evaluator, evaluation.attempts, evaluation.max_tokens, evaluation.options
    )


def all_terms(settings: RecipeSettings, registry: Registry) -> tuple[EvaluationTerms, ...]:
    """One for each of ``questions.eval``, in its order. Raises PluginError."""
    return tuple(terms_of(source, settings.evaluation, registry) for source in settings.questions.eval)


def terms_by_label(
    settings: RecipeSettings, registry: Registry, labels: Mapping[str, JsonValue]
) -> dict[str, EvaluationTerms]:
    """``labels``: label -> number of its source in ``questions.eval``, as stage ``questions`` sums it up."""
    found = all_terms(settings, registry)
    return {label: found[number] for label, number in labels.items() if isinstance(number, int)}
