"""The table of a run: checkpoints against accuracy, length, cut-off rate and KL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dasd.base.printable import echo

if TYPE_CHECKING:
    from dasd.store import Run

MEASURES = (
    ("accuracy", "accuracy", 3),
    ("length_tokens", "length (tokens)", 1),
    ("cut_off_rate", "cut off", 3),
    ("kl_nats_per_response", "KL (nats/response)", 2),
)
"""Metric, heading, decimals."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric of one checkpoint, over all domains."""

    checkpoint: str
    benchmark: str
    metric: str
    value: float
    standard_error: float | None
    n: int


def figures(run: Run) -> list[Figure]:
    """All figures of a run over all domains, in the order in which they were measured."""
    import polars as pl

    rows = run.frame("metrics").filter(pl.col("group") == "all").collect()
    return [
        Figure(
            row["checkpoint"], row["benchmark"], row["metric"], row["value"], row["standard_error"], row["n"]
        )
        for row in rows.iter_rows(named=True)
    ]


def table(found: list[Figure]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows for the terminal; KL stands in the rows of every benchmark of its checkpoint."""
    by_key = {(f.checkpoint, f.benchmark, f.metric): f for f in found}
    pairs = list(dict.fromkeys((f.checkpoint, f.benchmark) for f in found if f.metric == "accuracy"))
    pairs = pairs or list(dict.fromkeys((f.checkpoint, f.benchmark) for f in found))
    one_benchmark = len({benchmark for _, benchmark in pairs}) == 1
    rows = []
    for checkpoint, benchmark in pairs:
        cells = [checkpoint] if one_benchmark else [checkpoint, benchmark]
        for metric, _, decimals in MEASURES:
            figure = by_key.get((checkpoint, benchmark, metric)) or next(
                (f for f in found if (f.checkpoint, f.metric) == (checkpoint, metric)), None
            )
            cells.append(cell(figure, decimals))
        rows.append(cells)
    headings = ["checkpoint"] if one_benchmark else ["checkpoint", "benchmark"]
    return [*headings, *(heading for _, heading, _ in MEASURES)], rows


def cell(figure: Figure | None, decimals: int) -> str:
    """``1.23 ± 0.04``, or ``-`` for no figure."""
    if figure is None:
        return "-"
    error = "" if figure.standard_error is None else f" ± {figure.standard_error:.{decimals}f}"
    return f"{figure.value:.{decimals}f}{error}"


def print_summary(run: Run) -> None:
    """The table and the path of the report on stdout."""
    from dasd.cli.options import print_table

    columns, rows = table(figures(run))
    print_table(columns, rows, right=range(1, len(columns)))
    if run.report_path.is_file():
        echo(("\n" if rows else "") + f"report: {run.report_path}")
    else:
        echo(("\n" if rows else "") + f"run: {run.directory}")
