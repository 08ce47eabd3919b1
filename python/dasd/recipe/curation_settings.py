"""Sections ``sampling``, ``filters``, ``dedup`` and ``select``: which responses there are and which are kept."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from dasd.recipe.question_settings import QuestionSource
from dasd.recipe.section import Section

__all__ = ["DedupSettings", "FilterSettings", "SamplingSettings", "SelectSettings"]


class SamplingSettings(Section):
    """How the teacher is sampled, at every temperature."""

    candidates: int = Field(4, ge=1, description="Responses sampled a question and temperature.")
    top_p: float = Field(
        1.0, gt=0, le=1, description="Nucleus: smallest set of tokens with this much probability."
    )
    max_tokens: int = Field(
        32768, ge=1, description="Cap on the new tokens of a response (teacher's tokens)."
    )
    chunk: int = Field(
        256,
        ge=1,
        description="Requests written together. A whole number of batches is best.",
    )


class FilterSettings(Section):
    """Which responses are kept. Every verdict is stored with its reason."""

    length: bool = Field(
        True, description="Drop responses over the training context by the student's tokenizer."
    )
    structure: Literal["think", "any"] = Field(
        "think", description="`think`: non-empty reasoning between think tags, then a non-empty answer."
    )
    tool_calls: bool = Field(True, description="Drop responses with tool or function calls.")
    truncated: bool = Field(True, description="Drop responses that hit the cap on tokens.")
    repetition: bool = Field(True, description="Drop responses that loop or repeat themselves.")
    repetition_share: float = Field(
        0.5, gt=0, le=1, description="Largest share of tokens that may lie in repeated n-grams."
    )
    loop_tokens: int = Field(
        48,
        ge=3,
        description="Tokens of a loop at the end of a response (a block three times or more) from which "
        "`repetition` drops it; a shorter one (dots, zeros, a rule) is no loop.",
    )
    answer: bool = Field(
        False, description="Drop responses whose answer the question's verifier finds wrong."
    )
    extra: tuple[str, ...] = Field(
        (), strict=False, description="Filters of plugins to apply as well, by name."
    )
    options: dict[str, dict[str, JsonValue]] = Field(
        default_factory=dict,
        description="Options of the filters in `extra`, each checked by its filter: `{NAME: {key: value}}`.",
    )


class DedupSettings(Section):
    """Questions that repeat one another or the benchmarks', before sampling; duplicates among kept responses."""

    exact: bool = Field(
        True, description="Drop exact duplicates of an earlier response to the same question."
    )
    near: bool = Field(
        True, description="Drop near duplicates of an earlier response to it (Jaccard of token n-grams)."
    )
    threshold: float = Field(
        0.8, gt=0, le=1, description="Jaccard similarity from which two responses are near duplicates."
    )
    ngram: int = Field(5, ge=1, description="Tokens (of questions: words) in an n-gram for near duplicates.")
    near_questions: float | None = Field(
        0.8,
        gt=0,
        le=1,
        description="Set aside training questions that are this similar to an earlier one (Jaccard of n-grams of "
        "`ngram` words, without the template of their source) and have the same numbers and answer; null: no check.",
    )
    contamination: float | None = Field(
        0.5,
        gt=0,
        le=1,
        description="Set aside training questions of which more than this share of n-grams occurs in the "
        "evaluation questions, or in those of `against`, before anything is sampled; null: no check.",
    )
    contamination_ngram: int = Field(13, ge=1, description="Words in an n-gram for contamination.")
    against: tuple[QuestionSource, ...] = Field(
        (),
        strict=False,
        description="Sources of benchmark questions that aren't evaluated here, to decontaminate against too.",
    )


class SelectSettings(Section):
    """Which of a question's candidates is trained on."""

    selector: str = Field(
        "divergence",
        description="Selector, by its registered name; `dasd plugins info dasd.selectors` says what dasd's own do.",
    )
    beta: float = Field(0.1, ge=0, lt=1, description="Teacher sentence: p_teacher - p_student > beta.")
    per_question: int = Field(1, ge=1, description="Responses kept a question.")
    options: dict[str, JsonValue] = Field(default_factory=dict, description="The selector's own options.")
