"""Built-in selectors, registered through the same hook as any plugin's.

A selector's ``rank`` gets whole questions, all candidates of each in a row, a few thousand questions at a
time.
"""

from __future__ import annotations

import polars as pl

from dasd.curation.selectors.by_column import ColumnSelector, DivergenceOptions, DivergenceSelector
from dasd.curation.selectors.coverage import CoverageOptions, CoverageSelector
from dasd.curation.selectors.lengths import LengthMatchedSelector, RandomSelector
from dasd.curation.selectors.likelihood import NaturalnessOptions, NaturalnessSelector
from dasd.plugins.components import Options
from dasd.plugins.registry import Registry
from dasd.plugins.roles import hookimpl

__all__ = ["dasd_register"]


@hookimpl
def dasd_register(registry: Registry) -> None:
    """Register the built-in selectors."""
    registry.selector(
        "divergence",
        lambda settings, _: DivergenceSelector(DivergenceOptions.model_validate(settings.options)),
        options=DivergenceOptions,
        doc="Most Teacher sentences; with length_control, most beyond what the length predicts.",
        needs_logprobs=True,
    )
    registry.selector(
        "coverage",
        lambda settings, seed: CoverageSelector(CoverageOptions.model_validate(settings.options), seed),
        options=CoverageOptions,
        doc="Most Teacher sentences among selections that keep the teacher's mixture of wordings and its mean length.",
        needs_logprobs=True,
    )
    registry.selector(
        "ratio",
        lambda *_: ColumnSelector(pl.col("teacher") / pl.col("sentences")),
        options=Options,
        doc="Largest share of Teacher sentences.",
        needs_logprobs=True,
    )
    registry.selector(
        "fewest",
        lambda *_: ColumnSelector(-pl.col("teacher").cast(pl.Float64)),
        options=Options,
        doc="Fewest Teacher sentences (a control).",
        needs_logprobs=True,
    )
    registry.selector(
        "longest",
        lambda *_: ColumnSelector(pl.col("student_tokens")),
        options=Options,
        doc="Most tokens of the student.",
        by_length=True,
    )
    registry.selector(
        "random",
        lambda _, seed: RandomSelector(seed),
        options=Options,
        doc="A seeded draw (a control).",
    )
    registry.selector(
        "length-matched",
        lambda _, seed: LengthMatchedSelector(seed),
        options=Options,
        doc="Random, with the length ranks that divergence picks (a control).",
        needs_logprobs=True,
    )
    registry.selector(
        "grape",
        lambda *_: ColumnSelector(pl.col("student_mean_logprob")),
        options=Options,
        doc="Closest to the student: highest mean log-probability under it.",
    )
    registry.selector(
        "naturalness",
        lambda settings, _: NaturalnessSelector(NaturalnessOptions.model_validate(settings.options)),
        options=NaturalnessOptions,
        doc="Local naturalness: the student's log-probability of each sentence given only the few before it.",
    )
