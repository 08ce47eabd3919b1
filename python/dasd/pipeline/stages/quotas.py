"""Bounds of an off-policy stage: how many responses of which domain it trains on, and what it asks for them.

Every draw depends on the seed and on the question or response alone, so of the same rows a stage draws the same
whatever other stages a recipe has, and a larger bound draws what a smaller one drew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from math import ceil

import polars as pl

from dasd.base.seeds import uniform
from dasd.base.suggest import did_you_mean
from dasd.recipe.stage_settings import OffPolicyStage

__all__ = [
    "ANY",
    "asked_counts",
    "cutoffs",
    "draws",
    "limits",
    "question_limits",
    "shortages",
    "unknown_domains",
    "within",
]

ANY = ""
"""Stands for all domains together, where a stage has a ``total`` and no ``shares``."""


def limits(stage: OffPolicyStage) -> dict[str, int] | None:
    """Domain -> responses that the stage trains on at most; None: as many as there are.

    The parts of ``total`` are whole numbers that sum to it, by largest remainders, equal ones in the recipe's order.
    """
    if stage.total is None:
        return None
    if not stage.shares:
        return {ANY: stage.total}
    whole = sum(stage.shares.values())
    exact = {domain: stage.total * part / whole for domain, part in stage.shares.items()}
    found = {domain: int(size) for domain, size in exact.items()}
    left = stage.total - sum(found.values())
    for domain in sorted(exact, key=lambda name: found[name] - exact[name])[:left]:
        found[domain] += 1
    return found


def question_limits(stage: OffPolicyStage, per_question: int) -> dict[str, int] | None:
    """Domain -> questions that the stage asks at most, ``spare`` ones among them; None: all that there are."""
    responses = limits(stage)
    if responses is None:
        return None
    return {
        domain: ceil(ceil(count / per_question) * (1 + stage.spare)) for domain, count in responses.items()
    }


def asked_counts(
    bounds: Mapping[str, int] | None, there: Mapping[str, int], unsaid: int = 0
) -> dict[str, int]:
    """Domain -> how many questions the stage asks. ``bounds``: of ``question_limits``.

    ``there``: domain -> questions; ``unsaid``: those of which no domain is known, so that they may be of any.
    """
    if bounds is None or ANY in bounds:
        every = sum(there.values()) + unsaid
        return {ANY: every if bounds is None else min(bounds[ANY], every)}
    return {domain: min(bound, there.get(domain, 0) + unsaid) for domain, bound in bounds.items()}


def unknown_domains(stage: OffPolicyStage, there: Collection[str]) -> list[str]:
    """A sentence for each domain in ``shares`` that no question has, its key first. ``there``: domains of questions."""
    return [
        f"shares.{domain}: no question of this stage has the domain {domain!r}"
        f"{did_you_mean(domain, sorted(there))} Domains: {', '.join(sorted(there)) or 'none'}. Write it in the "
        "column `domain` of the questions' file, or in the source's `domain`"
        for domain in stage.shares
        if domain not in there
    ]


def draws(identifiers: pl.Series, what: str, seed: int) -> pl.Series:
    """A number in [0, 1) for each question or response. ``what`` keeps draws of different kinds apart."""
    found = [uniform(what, seed, identifier) for identifier in identifiers]
    return pl.Series("draw", found, dtype=pl.Float64)


def cutoffs(tables: Iterable[pl.DataFrame], bounds: Mapping[str, int] | None) -> dict[str, float] | None:
    """Domain -> the highest draw for which ``bounds`` has room; None: no bounds.

    ``tables``: ``domain`` and ``draw`` of some rows each; 8 bytes a row of a bounded domain stay in memory.
    """
    if bounds is None:
        return None
    found: dict[str, list[pl.Series]] = {domain: [] for domain in bounds}
    for rows in tables:
        for domain, draws in found.items():
            draws.append(rows.filter(_domain(bounds) == domain).get_column("draw"))
    last = {
        domain: pl.concat(draws).bottom_k(bounds[domain]).max() for domain, draws in found.items() if draws
    }
    return {domain: float(draw) for domain, draw in last.items() if isinstance(draw, float)}


def within(rows: pl.DataFrame, highest: Mapping[str, float] | None) -> pl.Series:
    """Which rows are drawn. ``rows``: ``domain`` and ``draw``; ``highest``: of ``cutoffs``, None: all are."""
    if highest is None:
        return pl.Series("drawn", [True] * rows.height, dtype=pl.Boolean)
    room = _domain(highest).replace_strict(dict(highest), default=None, return_dtype=pl.Float64)
    return rows.select(drawn=(pl.col("draw") <= room).fill_null(value=False)).to_series()


def shortages(drawn: Mapping[str, int], bounds: Mapping[str, int]) -> list[str]:
    """A sentence for each domain that has fewer responses than it may. ``drawn``: responses by their domain."""
    there = {ANY: sum(drawn.values())} if ANY in bounds else drawn
    return [
        (f"domain {domain!r} has" if domain else "there are")
        + f" {there.get(domain, 0):,} responses to train on, of {count:,} wanted: ask more questions (their sources' "
        "count, spare), or keep more of each (per_question, candidates)"
        for domain, count in bounds.items()
        if there.get(domain, 0) < count
    ]


def _domain(bounds: Mapping[str, object]) -> pl.Expr:
    return pl.lit(ANY) if ANY in bounds else pl.col("domain")
