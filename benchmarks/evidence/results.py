"""What the page is made of: the figures of a suite's directory, or the file of them that is kept beside the page.

A scale that needs a GPU keeps its figures in the repository: who has none can read them and build the page.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.evidence.cells import RESULT
from benchmarks.evidence.places import write_json
from benchmarks.evidence.table import COLUMNS, gather, machines, prepared
from dasd.errors import InputError

__all__ = ["Found", "keep", "load"]

_CELL = ("world", "seed", "arm", "budget")
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Found:
    """``table``: as of ``gather``; ``prepared``: world, seed and the figures of its models and pool."""

    table: pl.DataFrame
    prepared: list[tuple[str, int, dict[str, Any]]]
    machines: list[str]


def load(directory: Path, kept: Path) -> Found:
    """The finished cells of ``directory``; without any, what the file ``kept`` holds.

    Raises InputError where neither is there.
    """
    if not kept.is_file() or next(directory.glob(f"*/seed*/cells/*/{RESULT}"), None) is not None:
        return Found(gather(directory), prepared(directory), machines(directory))
    try:
        content = json.loads(kept.read_text(encoding="utf-8"))
        rows = [
            (*(cell[key] for key in _CELL), measure, value)
            for cell in content["cells"]
            for measure, value in cell["measures"].items()
        ]
        table = pl.DataFrame(rows, schema=COLUMNS, orient="row")
        made = [(each["world"], each["seed"], each["figures"]) for each in content["prepared"]]
        return Found(table, made, content["machines"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{kept}: wanted results that `page` wrote, got {error!r}") from error


def keep(found: Found, path: Path) -> None:
    """Write the figures as one small JSON file, rounded to six significant digits, for ``load``."""
    cells = [
        {
            **dict(zip(_CELL, key, strict=True)),
            "measures": {
                measure: float(f"{value:.{_DIGITS}g}")
                for measure, value in rows.select("measure", "value").iter_rows()
            },
        }
        for key, rows in found.table.group_by(_CELL, maintain_order=True)
    ]
    made = [{"world": world, "seed": seed, "figures": figures} for world, seed, figures in found.prepared]
    write_json(path, {"machines": found.machines, "cells": cells, "prepared": made})
