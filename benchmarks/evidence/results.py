"""All finished cells as one long table: read from a suite's directory, or from the files kept beside the page.

The figures that the page shows are kept in the repository, so that whoever has neither hours nor a GPU can read them
and build the page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.evidence.cells import RESULT
from benchmarks.evidence.components import FORCED
from benchmarks.evidence.places import write_json
from benchmarks.evidence.verdicts import held_against
from benchmarks.evidence.worlds import WORLDS, World
from dasd.errors import InputError

__all__ = ["COLUMNS", "Found", "gather", "keep", "load", "write_table"]

COLUMNS = {
    "world": pl.String,
    "seed": pl.Int64,
    "arm": pl.String,
    "budget": pl.String,
    "measure": pl.String,
    "value": pl.Float64,
}


@dataclass(frozen=True, slots=True)
class Found:
    """``table``: columns COLUMNS, a row a cell and measure; the arm ``before`` (budget ``0``) is the student as it was,
    ``teacher`` the teacher. ``prepared``: world, seed and the figures of its models and pool. ``machines``: what the
    cells ran on."""

    table: pl.DataFrame
    prepared: list[tuple[str, int, dict[str, Any]]]
    machines: list[str]


def gather(directory: Path) -> Found:
    """What has finished below a suite's directory. Raises InputError for none."""
    rows: list[tuple[str, int, str, str, str, float]] = []
    machines = set()
    for path in sorted(directory.glob(f"*/seed*/cells/*/{RESULT}")):
        cell = json.loads(path.read_text())
        key = (cell["world"], cell["seed"], cell["arm"], cell["budget"])
        values = {
            **_values(cell),
            **_by_stage(path.with_name("metrics.parquet")),
            **_in_style(path.with_name("eval-measure.parquet"), WORLDS[cell["world"]]),
        }
        rows += [(*key, measure, float(value)) for measure, value in values.items()]
        if "machine" in cell:
            machines.add(cell["machine"])
    if not rows:
        raise InputError(f"{directory} holds no finished cell; run `python -m benchmarks.evidence run` first")
    prepared = _prepared(directory)
    for world, seed, figures in prepared:
        for arm, role in (("before", "student"), ("teacher", "teacher")):
            rows += [(world, seed, arm, "0", measure, value) for measure, value in figures[role].items()]
    return Found(pl.DataFrame(rows, schema=COLUMNS, orient="row"), prepared, sorted(machines))


def _values(cell: Mapping[str, Any]) -> dict[str, float]:
    """The measures of a cell and what it took, chose and trained on."""
    values = dict(cell["measures"])
    for figure in ("steps", "tokens"):
        values[figure] = sum(each[figure] or 0 for each in cell["trainings"].values())
    for figure in ("seconds", "cpu_seconds"):
        values[figure] = cell[figure]
    values |= {f"cost.{name}": value for name, value in cell.get("costs", {}).items()}
    for name, figures in cell["mixed"].items():
        if figures.get("drifted_share") is not None:
            values[f"mixed.{name}.drifted_share"] = figures["drifted_share"]
    for name, figures in cell["selection"].items():
        values |= {f"select.{name}.{key}": value for key, value in figures.items() if value is not None}
    return values


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


def _in_style(path: Path, world: World) -> dict[str, float]:
    """Of the answers that were begun in a style: the share that keeps it, and that is right in it.

    ``kept.STYLE`` and ``in_style.STYLE``; ``macro_in_style``: mean of the latter.
    """
    if not path.is_file():
        return {}
    rows = pl.read_parquet(path, columns=["benchmark", "text", "correct"])
    values: dict[str, float] = {}
    for style in world.styles:
        begun = rows.filter(pl.col("benchmark") == f"{FORCED}{style}")
        kept = [world.style_of(text) == style for text in begun["text"]]
        right = [keeps and correct for keeps, correct in zip(kept, begun["correct"], strict=True)]
        values[f"kept.{style}"] = sum(kept) / max(1, len(kept))
        values[f"in_style.{style}"] = sum(right) / max(1, len(right))
    values["macro_in_style"] = sum(values[f"in_style.{style}"] for style in world.styles) / len(world.styles)
    return values


def _prepared(directory: Path) -> list[tuple[str, int, dict[str, Any]]]:
    found = []
    for path in sorted(directory.glob("*/seed*/prepared.json")):
        seed = int(path.parent.name.removeprefix("seed"))
        found.append((path.parent.parent.name, seed, json.loads(path.read_text())))
    return found


def load(directory: Path, kept: Path) -> Found:
    """The finished cells of ``directory``; without any, what ``keep`` wrote as ``kept``.parquet and ``kept``.json.

    Raises InputError where neither is there.
    """
    table, rest = _files(kept)
    if not rest.is_file() or next(directory.glob(f"*/seed*/cells/*/{RESULT}"), None) is not None:
        return gather(directory)
    try:
        content = json.loads(rest.read_text(encoding="utf-8"))
        made = [(each["world"], each["seed"], each["figures"]) for each in content["prepared"]]
        return Found(pl.read_parquet(table).select(list(COLUMNS)), made, content["machines"])
    except (ValueError, KeyError, TypeError, OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{rest}, {table}: wanted results that `page` wrote, got {error!r}") from error


def keep(found: Found, kept: Path) -> None:
    """Write the figures for ``load``: the table as Parquet, the rest as JSON."""
    table, rest = _files(kept)
    kept.parent.mkdir(parents=True, exist_ok=True)
    _write_parquet(found.table, table)
    made = [{"world": world, "seed": seed, "figures": figures} for world, seed, figures in found.prepared]
    write_json(rest, {"machines": found.machines, "prepared": made})


def write_table(directory: Path) -> str:
    """Write results.parquet and results.json into the suite's directory; returns what to tell."""
    found = gather(directory)
    table, rest = _files(directory / "results")
    _write_parquet(found.table, table)
    cells = found.table.select("world", "seed", "arm", "budget").unique().height
    write_json(
        rest,
        {
            "cells": cells,
            "hypotheses": [asdict(each) for each in held_against(found.table)],
            "prepared": [{"world": w, "seed": s, **figures} for w, s, figures in found.prepared],
            "results": found.table.to_dicts(),
        },
    )
    return f"{cells} cells, {found.table.height} figures: {table}, {rest}"


def _files(stem: Path) -> tuple[Path, Path]:
    return stem.with_name(f"{stem.name}.parquet"), stem.with_name(f"{stem.name}.json")


def _write_parquet(table: pl.DataFrame, path: Path) -> None:
    beside = path.with_name(f"{path.name}.new")
    table.write_parquet(beside, compression="zstd", compression_level=19)
    beside.replace(path)
