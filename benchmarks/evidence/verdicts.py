"""Statistics over paired seeds, and the hypotheses held against the table of all cells."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl

from benchmarks.evidence.hypotheses import HYPOTHESES
from benchmarks.evidence.hypothesis import ALPHA, Hypothesis, Question
from dasd.evaluation.statistics import Estimate, mean_over_questions, t_interval
from dasd.evaluation.statistics.student_t import t_two_sided
from dasd.results import holm

__all__ = ["Tested", "held_against", "mean_and_error", "paired"]

Verdict = Literal[
    "holds", "reversed", "no effect worth naming", "undecided", "exploration", "unfinished", "not run"
]


@dataclass(frozen=True, slots=True)
class Tested:
    """One hypothesis in one world. ``difference``: of the means over seeds, the first arm minus the second."""

    hypothesis: Hypothesis
    world: str
    seeds: int
    first: float | None = None
    second: float | None = None
    difference: float | None = None
    standard_error: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    """Two-sided, of the paired t test over seeds."""
    p_holm: float | None = None
    """Adjusted for the tested hypotheses of the same question in all worlds; None for exploration."""
    p_all: float | None = None
    """Adjusted for all tested hypotheses in all worlds; no verdict rests on it."""
    verdict: Verdict = "not run"


def paired(
    table: pl.DataFrame, world: str, measure: str, first: tuple[str, str], second: tuple[str, str]
) -> list[tuple[float, float]]:
    """The measure of two cells (arm, budget) in the seeds that have both, in the order of the seeds."""
    rows = table.filter((pl.col("world") == world) & (pl.col("measure") == measure))
    one, two = (
        rows.filter((pl.col("arm") == arm) & (pl.col("budget") == budget)).select("seed", "value")
        for arm, budget in (first, second)
    )
    both = one.join(two, on="seed").sort("seed")
    return [(a, b) for _, a, b in both.iter_rows()]


def mean_and_error(values: pl.Series, places: int = 3) -> str:
    """Mean over seeds ± its standard error, in words; empty where there are no values."""
    if not len(values):
        return ""
    value, error = mean_over_questions(values)
    return f"{value:.{places}f}" if error is None else f"{value:.{places}f} ± {error:.{places}f}"


def held_against(table: pl.DataFrame) -> list[Tested]:
    """The hypotheses that name a world of the table; p-values adjusted by Holm over those tested of the same question.

    In a world that none names all those of several worlds are exploration.
    """
    worlds = set(table["world"])
    named = [each for each in HYPOTHESES if worlds & set(each.worlds)]
    found = [_compared(table, each, world) for each in named for world in each.worlds]
    found += [
        _compared(table, replace(each, tested=False), world)
        for each in HYPOTHESES
        if len(each.worlds) > 1
        for world in sorted(worlds.difference(*(each.worlds for each in named)))
    ]
    by_question: dict[int, float] = {}
    for question in dict.fromkeys(each.question for each in HYPOTHESES):
        by_question |= _adjusted(found, {question})
    in_all = _adjusted(found, {each.question for each in HYPOTHESES})
    return [
        each
        if each.p_value is None or number not in in_all
        else replace(
            each,
            p_holm=by_question[number],
            p_all=in_all[number],
            verdict=_verdict(each, by_question[number]),
        )
        for number, each in enumerate(found)
    ]


def _adjusted(found: Sequence[Tested], questions: Set[Question]) -> dict[int, float]:
    """Holm's p-values by place in ``found``, over the tested hypotheses of ``questions``; one not run counts as 1."""
    family = [
        number
        for number, each in enumerate(found)
        if each.hypothesis.tested and each.hypothesis.question in questions
    ]
    values = [found[number].p_value for number in family]
    adjusted = holm([1.0 if value is None else value for value in values])
    return dict(zip(family, adjusted, strict=True))


def _compared(table: pl.DataFrame, hypothesis: Hypothesis, world: str) -> Tested:
    pairs = paired(
        table,
        world,
        hypothesis.measure,
        (hypothesis.arm, hypothesis.budget),
        (hypothesis.than, hypothesis.budget),
    )
    if not pairs:
        return Tested(hypothesis, world, 0)
    differences = [one - two for one, two in pairs]
    difference, error = mean_over_questions(differences)
    estimate = Estimate(difference, error, len(pairs), len(pairs))
    interval = t_interval(estimate)
    p_value = None
    if error is not None and interval is not None:
        p_value = t_two_sided(difference / error, len(pairs) - 1) if error > 0 else float(difference == 0)
    return Tested(
        hypothesis,
        world,
        len(pairs),
        first=sum(one for one, _ in pairs) / len(pairs),
        second=sum(two for _, two in pairs) / len(pairs),
        difference=difference,
        standard_error=error,
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
        p_value=p_value,
        verdict="unfinished" if hypothesis.tested else "exploration",
    )


def _verdict(tested: Tested, p_holm: float) -> Verdict:
    """As docs/evidence.md lays down; the first that fits."""
    if tested.seeds < tested.hypothesis.seeds:
        return "unfinished"
    difference, size = tested.difference or 0.0, abs(tested.hypothesis.smallest)
    if p_holm < ALPHA:
        if difference * tested.hypothesis.smallest < 0:
            return "reversed"
        return "holds" if abs(difference) >= size else "no effect worth naming"
    if tested.low is not None and tested.high is not None and -size < tested.low and tested.high < size:
        return "no effect worth naming"
    return "undecided"
