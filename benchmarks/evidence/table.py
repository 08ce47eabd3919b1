"""All finished cells as one long table, and the hypotheses held against it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import polars as pl

from benchmarks.evidence.cells import RESULT
from benchmarks.evidence.hypotheses import ALPHA, HYPOTHESES, Hypothesis
from benchmarks.evidence.places import write_json
from benchmarks.evidence.scale import FULL
from dasd.errors import InputError
from dasd.results import holm
from dasd.scores import Estimate, mean_over_questions, t_interval
from dasd.scores.student_t import t_two_sided

__all__ = [
    "COLUMNS",
    "Tested",
    "gather",
    "held_against",
    "machines",
    "mean_and_error",
    "paired",
    "prepared",
    "write_table",
]

COLUMNS = {
    "world": pl.String,
    "seed": pl.Int64,
    "arm": pl.String,
    "budget": pl.String,
    "measure": pl.String,
    "value": pl.Float64,
}
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
    verdict: Verdict = "not run"


def gather(directory: Path) -> pl.DataFrame:
    """Columns COLUMNS, a row a cell and measure; the arm ``before`` (budget ``0``) is the student as it was."""
    rows: list[tuple[str, int, str, str, str, float]] = []
    for path in sorted(directory.glob(f"*/seed*/cells/*/{RESULT}")):
        cell = json.loads(path.read_text())
        key = (cell["world"], cell["seed"], cell["arm"], cell["budget"])
        values = dict(cell["measures"])
        values["steps"] = sum(each["steps"] or 0 for each in cell["trainings"].values())
        values["tokens"] = sum(each["tokens"] or 0 for each in cell["trainings"].values())
        values["seconds"] = cell["seconds"]
        values["cpu_seconds"] = cell["cpu_seconds"]
        for name, figures in cell["selection"].items():
            values |= {f"select.{name}.{key}": value for key, value in figures.items() if value is not None}
        values |= {f"temperature.{name}": value for name, value in cell.get("temperatures", {}).items()}
        values |= _by_stage(path.with_name("metrics.parquet"))
        rows += [(*key, measure, float(value)) for measure, value in values.items()]
    for world, seed, figures in prepared(directory):
        rows += [
            (world, seed, "before", "0", measure, value) for measure, value in figures["student"].items()
        ]
        rows += [
            (world, seed, "teacher", "0", measure, value) for measure, value in figures["teacher"].items()
        ]
    if not rows:
        raise InputError(f"{directory} holds no finished cell; run `python -m benchmarks.evidence run` first")
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


def _by_stage(path: Path) -> dict[str, float]:
    """What the pipeline measured after each training of a cell: ``stage.NAME.METRIC``."""
    if not path.is_file():
        return {}
    rows = pl.read_parquet(path, columns=["checkpoint", "metric", "group", "value"])
    chosen = rows.filter((pl.col("group") == "all") & pl.col("value").is_finite())
    return {
        f"stage.{checkpoint}.{metric}": value
        for checkpoint, metric, value in chosen.select("checkpoint", "metric", "value").iter_rows()
    }


def prepared(directory: Path) -> list[tuple[str, int, dict[str, Any]]]:
    """World, seed and the figures of its models and pool."""
    found = []
    for path in sorted(directory.glob("*/seed*/prepared.json")):
        seed = int(path.parent.name.removeprefix("seed"))
        found.append((path.parent.parent.name, seed, json.loads(path.read_text())))
    return found


def machines(directory: Path) -> list[str]:
    """What the finished cells ran on."""
    cells = (json.loads(path.read_text()) for path in directory.glob(f"*/seed*/cells/*/{RESULT}"))
    return sorted({cell["machine"] for cell in cells if "machine" in cell})


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
    """Every hypothesis in every world; p-values adjusted by Holm over those tested of the same question.

    In a world that a hypothesis doesn't name it is exploration.
    """
    found = [_compared(table, each, world) for each in HYPOTHESES for world in each.worlds]
    worlds = sorted(set(table["world"]))
    found += [
        _compared(table, replace(each, tested=False), world)
        for each in HYPOTHESES
        for world in worlds
        if world not in each.worlds
    ]
    for question in dict.fromkeys(each.question for each in HYPOTHESES):
        family = [
            number
            for number, each in enumerate(found)
            if each.hypothesis.question == question and each.hypothesis.tested
        ]
        known = [found[number].p_value for number in family]
        adjusted = holm([1.0 if value is None else value for value in known])
        for number, p_holm in zip(family, adjusted, strict=True):
            each = found[number]
            if each.p_value is not None:
                found[number] = replace(each, p_holm=p_holm, verdict=_verdict(each, p_holm))
    return found


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
    estimate = Estimate(difference, error, None, len(pairs), len(pairs))
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
    if tested.seeds < len(FULL.seeds):
        return "unfinished"
    difference, size = tested.difference or 0.0, abs(tested.hypothesis.smallest)
    if p_holm < ALPHA:
        if difference * tested.hypothesis.smallest < 0:
            return "reversed"
        return "holds" if abs(difference) >= size else "no effect worth naming"
    if tested.low is not None and tested.high is not None and -size < tested.low and tested.high < size:
        return "no effect worth naming"
    return "undecided"


def write_table(directory: Path) -> str:
    """Write results.parquet and results.json into the suite's directory; returns what to tell."""
    table = gather(directory)
    table.write_parquet(directory / "results.parquet", compression="zstd")
    tested = [asdict(each) for each in held_against(table)]
    cells = table.select("world", "seed", "arm", "budget").unique().height
    write_json(
        directory / "results.json",
        {
            "cells": cells,
            "hypotheses": tested,
            "prepared": [{"world": w, "seed": s, **figures} for w, s, figures in prepared(directory)],
            "results": table.to_dicts(),
        },
    )
    return f"{cells} cells, {table.height} figures: {directory / 'results.parquet'}, {directory / 'results.json'}"
