"""What the results of a run are: the answers of a checkpoint, a comparison, and the frames of their scores."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from dasd.base.schemas import EVAL, Schema
from dasd.evaluation.statistics import SUMMARY

__all__ = [
    "ATTEMPTS",
    "COMPARISONS",
    "EVERY_DOMAIN",
    "RESULTS",
    "Compared",
    "Evaluation",
    "Origin",
    "Sampling",
    "Ungraded",
]

EVERY_DOMAIN = "all"
"""``domain`` of a score over all questions of a benchmark."""

ATTEMPTS = Schema(
    "attempts",
    {"checkpoint": pl.String, "domain": pl.String, **EVAL.columns},
    EVAL.nullable | {"domain", "correct"},
)
"""EVAL rows with their checkpoint and domain. ``correct`` is null where the question can't be graded."""

RESULTS = Schema(
    "results",
    {
        "checkpoint": pl.String,
        "benchmark": pl.String,
        "domain": pl.String,
        **{name: kind for name, kind in SUMMARY.columns.items() if name != "benchmark"},
    },
    SUMMARY.nullable,
)
"""One row a score: as ``dasd.evaluation.statistics.SUMMARY``, with checkpoint and domain (``all``, or one)."""

COMPARISONS = Schema(
    "comparisons",
    {
        "benchmark": pl.String,
        "value": pl.String,  # "correct", or "tokens": the length of a response
        "first": pl.Float64,
        "second": pl.Float64,
        "difference": pl.Float64,  # second minus first
        "standard_error": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "p_value": pl.Float64,
        "p_adjusted": pl.Float64,  # Holm, over the benchmarks compared, for each value by itself
        "exact": pl.Boolean,
        "t_p_value": pl.Float64,
        "questions": pl.UInt32,
        "higher": pl.UInt32,  # questions at which the second checkpoint's mean is higher
        "lower": pl.UInt32,
        "left_out": pl.UInt32,  # questions that only one of both has, or with another text
    },
    frozenset({"standard_error", "low", "high", "t_p_value"}),
)
"""One row a benchmark and value compared, the fields as ``dasd.evaluation.statistics.Comparison`` has them."""


@dataclass(frozen=True, slots=True)
class Ungraded:
    """Answers that count as wrong because grading them failed."""

    reason: str
    answers: int


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the answers to a benchmark were sampled; None: not on record."""

    benchmark: str
    temperature: float | None
    top_p: float | None
    max_tokens: int | None


@dataclass(frozen=True, slots=True)
class Origin:
    """What made the answers, as far as it is on record."""

    source: str
    """The run directory or file, as it was given."""
    name: str
    """Of the run, or the file's without ending."""
    model: str | None
    """The student's model, which the checkpoint was trained from."""
    stage: str | None
    sampling: tuple[Sampling, ...]
    """Of each benchmark that is on record."""
    seed: int | None
    finished: datetime
    """Of a file: when it was written."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The answers of one checkpoint."""

    checkpoint: str
    """``before``, or the training's name."""
    attempts: pl.DataFrame
    """ATTEMPTS rows."""
    questions: pl.DataFrame | None
    """QUESTIONS rows of the questions asked; None: the file doesn't say."""
    ungraded: tuple[Ungraded, ...]
    origin: Origin

    @property
    def benchmarks(self) -> list[str]:
        """Names, in the order of the rows."""
        return self.attempts.get_column("benchmark").unique(maintain_order=True).to_list()

    def sampling(self, benchmark: str) -> Sampling:
        """How answers to ``benchmark`` were sampled, as far as it is on record."""
        known = (item for item in self.origin.sampling if item.benchmark == benchmark)
        return next(known, Sampling(benchmark, None, None, None))

    @property
    def label(self) -> str:
        """Name of run and checkpoint, e.g. ``demo/low``."""
        return f"{self.origin.name}/{self.checkpoint}"


@dataclass(frozen=True, slots=True)
class Compared:
    """Two checkpoints compared."""

    first: Evaluation
    second: Evaluation
    rows: pl.DataFrame
    """COMPARISONS rows."""
    notes: tuple[str, ...]
    """What a reader should know: benchmarks left out, system prompts that differ."""

    @property
    def names(self) -> tuple[str, str]:
        """What tells the two apart: the checkpoints in one run, else ``RUN/CHECKPOINT``, else with the path."""
        if self.first.origin.source == self.second.origin.source:
            return self.first.checkpoint, self.second.checkpoint
        if self.first.label != self.second.label:
            return self.first.label, self.second.label
        one, two = (f"{side.origin.source}/{side.checkpoint}" for side in (self.first, self.second))
        return one, two
