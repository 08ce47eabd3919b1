"""The scores of checkpoints as one frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import polars as pl

from dasd.base.progress import Console
from dasd.errors import InputError
from dasd.evaluation.statistics import (
    Estimate,
    average,
    bootstrap,
    length,
    majority_at,
    pass_at,
    summary,
    truncation_rate,
)
from dasd.results.read import choose, read
from dasd.results.records import EVERY_DOMAIN, RESULTS, Evaluation
from dasd.store import Run

__all__ = ["scores"]

_BOOTSTRAP_COST = 10
"""How much longer it takes with bootstrap intervals, roughly."""
_LARGE = 20_000
"""Attempts from which on progress is shown."""


def scores(
    source: Run | Path | str | Sequence[Evaluation],
    *,
    checkpoints: Sequence[str] = (),
    benchmarks: Sequence[str] = (),
    ks: Sequence[int] | None = None,
    domains: bool = False,
    draws: int | None = None,
    seed: int = 0,
    console: Console | None = None,
) -> pl.DataFrame:
    """RESULTS rows: avg@k, pass@k, majority@k, length and truncation rate by checkpoint and benchmark.

    ``source``: a run, its directory, a file of EVAL rows, or what ``read`` gave. ``checkpoints``,
    ``benchmarks``: only these. ``ks``: the k of pass@k and majority@k; None: 1 and as many as every question
    has. ``domains``: the scores of each domain as well. ``draws``: percentile bootstrap intervals of so many
    draws of questions by ``seed`` in place of the usual intervals. ``seed`` also draws the subsets of majority@k where
    there are too many to go through. Intervals are of 95 %.

    Questions that can't be graded (no answer, or no verifier) count for length and truncation alone. Raises
    InputError: see ``read`` and ``choose``; for a k below 1, or that no benchmark has as many attempts for; for
    an attempt that is there twice; for ``draws`` below 1.
    """
    if draws is not None and draws < 1:
        raise InputError(f"bootstrap: wanted at least 1 draw, got {draws}")
    if ks is not None and (not ks or min(ks) < 1):
        raise InputError(f"k of pass@k and majority@k: wanted numbers from 1, got {list(ks)}")
    found = read(source) if isinstance(source, (Run, Path, str)) else list(source)
    evaluations = choose(found, checkpoints, benchmarks)
    total = sum(evaluation.attempts.height for evaluation in evaluations)
    console = console or Console(quiet=True)
    if total * (1 if draws is None else _BOOTSTRAP_COST) < _LARGE:
        console = Console(quiet=True)
    made = [RESULTS.empty()]
    with console.task("scores", total, "attempts") as task:
        for evaluation in evaluations:
            for domain, rows in _groups(evaluation.attempts, domains):
                table = summary(rows, ks, seed)
                if draws is not None:
                    table = _bootstrapped(table, rows, draws, seed)
                made.append(
                    table.with_columns(
                        checkpoint=pl.lit(evaluation.checkpoint), domain=pl.lit(domain)
                    ).select(list(RESULTS.columns))
                )
                if domain == EVERY_DOMAIN:
                    task.advance(rows.height)
    result = pl.concat(made)
    _refuse_large_ks(result, ks, evaluations)
    return result


def _groups(attempts: pl.DataFrame, domains: bool) -> Iterator[tuple[str, pl.DataFrame]]:
    """Benchmark by benchmark: all rows, then those of each domain where there are several."""
    for rows in attempts.partition_by("benchmark", maintain_order=True):
        yield EVERY_DOMAIN, rows
        names = rows.get_column("domain").drop_nulls().unique().sort().to_list()
        if domains and len(names) > 1:
            for name in names:
                yield name, rows.filter(pl.col("domain") == name)


def _refuse_large_ks(result: pl.DataFrame, ks: Sequence[int] | None, found: Sequence[Evaluation]) -> None:
    """A k that one benchmark has too few attempts for is left out; one that none has is a mistake."""
    graded = pl.concat([evaluation.attempts for evaluation in found]).drop_nulls("correct")
    if ks is None or not graded.height:
        return
    counts = graded.group_by("checkpoint", "benchmark", "question_id").len().get_column("len")
    fewest = min(counts.to_list())
    for k in ks:
        if not result.get_column("metric").is_in([f"pass@{k}"]).any():
            raise InputError(
                f"pass@{k} and majority@{k}: no benchmark has {k} attempts at every question, some question "
                f"has {fewest}; wanted a smaller k"
            )


def _bootstrapped(table: pl.DataFrame, rows: pl.DataFrame, draws: int, seed: int) -> pl.DataFrame:
    """``table`` of the rows of one benchmark with other intervals; null where there is one question."""
    graded = rows.drop_nulls("correct")
    ends: list[tuple[float | None, float | None]] = []
    for metric in table.get_column("metric"):
        measure, only_graded = _measure(metric, seed)
        counted = graded if only_graded else rows
        values = [measure(part).value for part in counted.partition_by("question_id", maintain_order=True)]
        if len(values) < 2:
            ends.append((None, None))
            continue
        interval = bootstrap(values, draws=draws, seed=seed)
        low, high = interval.low, interval.high
        if metric != "length_tokens":  # the correction for few questions may reach over a share's ends
            low, high = max(0.0, low), min(1.0, high)
        ends.append((low, high))
    return table.with_columns(
        low=pl.Series([low for low, _ in ends], dtype=pl.Float64),
        high=pl.Series([high for _, high in ends], dtype=pl.Float64),
    )


def _measure(metric: str, seed: int) -> tuple[Callable[[pl.DataFrame], Estimate], bool]:
    """What computes ``metric`` of ``summary``, and whether it takes graded rows only."""
    name, _, k = metric.partition("@")
    if name == "avg":
        return average, True
    if name == "pass":
        return partial(pass_at, k=int(k)), True
    if name == "majority":
        return partial(majority_at, k=int(k), seed=seed), True
    return (length, False) if metric == "length_tokens" else (truncation_rate, False)
