"""Built-in selectors, registered through the same hook as any plugin's.

A selector's ``rank`` gets whole questions, all candidates of each in a row, a few thousand questions at a
time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pydantic import BaseModel

from dasd.curation.selectors.counts import (
    DivergenceOptions,
    DivergenceSelector,
    FewestSelector,
    RatioSelector,
)
from dasd.curation.selectors.coverage import CoverageOptions, CoverageSelector
from dasd.curation.selectors.lengths import LengthMatchedSelector, LongestSelector, RandomSelector
from dasd.curation.selectors.likelihood import GrapeSelector, NaturalnessOptions, NaturalnessSelector
from dasd.plugins.components import NoOptions
from dasd.plugins.registry import Registry
from dasd.plugins.roles import Selector, hookimpl
from dasd.recipe.curation_settings import SelectSettings

__all__ = ["dasd_register"]


class _BuiltIn(NamedTuple):
    """What ``registry.selector`` is told."""

    name: str
    make: Callable[[SelectSettings, int], Selector]
    doc: str
    needs_logprobs: bool = False
    options: type[BaseModel] = NoOptions
    by_length: bool = False


def _divergence(settings: SelectSettings, _: int) -> Selector:
    return DivergenceSelector(DivergenceOptions.model_validate(settings.options))


def _coverage(settings: SelectSettings, seed: int) -> Selector:
    return CoverageSelector(CoverageOptions.model_validate(settings.options), seed)


def _naturalness(settings: SelectSettings, _: int) -> Selector:
    return NaturalnessSelector(NaturalnessOptions.model_validate(settings.options))


_BUILT_IN = (
    _BuiltIn(
        "divergence",
        _divergence,
        "Most Teacher sentences; with length_control, most beyond what the length predicts.",
        needs_logprobs=True,
        options=DivergenceOptions,
    ),
    _BuiltIn(
        "coverage",
        _coverage,
        "Most Teacher sentences among selections that keep the teacher's mixture of wordings and its mean length.",
        needs_logprobs=True,
        options=CoverageOptions,
    ),
    _BuiltIn("ratio", lambda *_: RatioSelector(), "Largest share of Teacher sentences.", needs_logprobs=True),
    _BuiltIn(
        "fewest", lambda *_: FewestSelector(), "Fewest Teacher sentences (a control).", needs_logprobs=True
    ),
    _BuiltIn("longest", lambda *_: LongestSelector(), "Most tokens of the student.", by_length=True),
    _BuiltIn("random", lambda _, seed: RandomSelector(seed), "A seeded draw (a control)."),
    _BuiltIn(
        "length-matched",
        lambda _, seed: LengthMatchedSelector(seed),
        "Random, with the length ranks that divergence picks (a control).",
        needs_logprobs=True,
    ),
    _BuiltIn(
        "grape",
        lambda *_: GrapeSelector(),
        "Closest to the student: highest mean log-probability under it.",
    ),
    _BuiltIn(
        "naturalness",
        _naturalness,
        "Local naturalness: the student's log-probability of each sentence given only the few before it.",
        options=NaturalnessOptions,
    ),
)


@hookimpl
def dasd_register(registry: Registry) -> None:
    """Register the built-in selectors."""
    for one in _BUILT_IN:
        registry.selector(
            one.name,
            one.make,
            options=one.options,
            doc=one.doc,
            needs_logprobs=one.needs_logprobs,
            by_length=one.by_length,
        )
