"""Built-in selectors, registered through the same hook as any plugin's.

A selector's ``rank`` gets whole questions, all candidates of each in a row, a few thousand questions at a
time.
"""

from __future__ import annotations

from dasd.api import hookimpl
from dasd.registry import Registry
from dasd.selectors.counts import DivergenceOptions, DivergenceSelector, FewestSelector, RatioSelector
from dasd.selectors.lengths import LengthMatchedSelector, LongestSelector, RandomSelector
from dasd.selectors.likelihood import GrapeSelector, NaturalnessOptions, NaturalnessSelector
from dasd.selectors.options import NoOptions

__all__ = ["dasd_register"]


@hookimpl
def dasd_register(registry: Registry) -> None:
    """Register the eight built-in selectors."""
    registry.selector(
        "divergence",
        lambda settings, _: DivergenceSelector(DivergenceOptions.model_validate(settings.options)),
        options=DivergenceOptions,
        doc="Most Teacher sentences; with length_control, most beyond what the length predicts.",
        needs_logprobs=True,
    )
    registry.selector(
        "ratio",
        lambda _, __: RatioSelector(),
        options=NoOptions,
        doc="Largest share of Teacher sentences.",
        needs_logprobs=True,
    )
    registry.selector(
        "fewest",
        lambda _, __: FewestSelector(),
        options=NoOptions,
        doc="Fewest Teacher sentences (a control).",
        needs_logprobs=True,
    )
    registry.selector(
        "longest", lambda _, __: LongestSelector(), options=NoOptions, doc="Most tokens of the student."
    )
    registry.selector(
        "random", lambda _, seed: RandomSelector(seed), options=NoOptions, doc="A seeded draw (a control)."
    )
    registry.selector(
        "length-matched",
        lambda _, seed: LengthMatchedSelector(seed),
        options=NoOptions,
        doc="Random, with the length ranks that divergence picks (a control).",
        needs_logprobs=True,
    )
    registry.selector(
        "grape",
        lambda _, __: GrapeSelector(),
        options=NoOptions,
        doc="Closest to the student: highest mean log-probability under it.",
    )
    registry.selector(
        "naturalness",
        lambda settings, _: NaturalnessSelector(NaturalnessOptions.model_validate(settings.options)),
        options=NaturalnessOptions,
        doc="Local naturalness: the student's log-probability of each sentence given only the few before it.",
    )
