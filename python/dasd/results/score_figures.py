"""Scores and comparisons as pictures, in the report's style. Importing this imports matplotlib."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib
import polars as pl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from dasd.base.files import write_whole
from dasd.base.printable import printable
from dasd.errors import InputError
from dasd.results.records import EVERY_DOMAIN, Compared
from dasd.results.report.drawing import COLOURS, INK, MUTED, PAPER, axes_row, page_colours, with_colours

__all__ = ["FORMATS", "comparison_figure", "scores_figure", "write_figure"]

FORMATS = (".svg", ".png")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_ROW = 0.26
"""Inches a row takes."""
_LONGEST = 60
"""Characters of a name in a figure."""
_WORDS = ("avg", "pass", "majority")


def scores_figure(table: pl.DataFrame, path: Path) -> None:
    """Draw avg@k, pass@k and majority@k of RESULTS rows with their 95 % intervals into ``path``.

    A row a benchmark and checkpoint, a panel a score; pass@k and majority@k with the largest k there is, left out
    for k = 1, where they are avg@k. Raises InputError for an ending other than .svg or .png, and for no scores.
    """
    rows = table.filter(pl.col("domain") == EVERY_DOMAIN)
    panels = _panels(rows)
    if not panels:
        raise InputError("figure: no benchmark has answers that can be graded; wanted at least one score")
    checkpoints = rows.get_column("checkpoint").unique(maintain_order=True).to_list()
    drawn = pl.concat(panels.values()).get_column("benchmark").unique()
    benchmarks = [name for name in rows.get_column("benchmark").unique(maintain_order=True) if name in drawn]
    step = len(checkpoints) + 0.8

    def draw(colours: dict[str, str]) -> Figure:
        height = 1.1 + _ROW * step * len(benchmarks)
        figure, all_axes = axes_row([1.0] * len(panels), height=height, share_y=True)
        for axes, (word, panel) in zip(all_axes, panels.items(), strict=True):
            for number, checkpoint in enumerate(checkpoints):
                found = panel.filter(pl.col("checkpoint") == checkpoint)
                places = [benchmarks.index(name) * step + number for name in found["benchmark"]]
                colour = colours[COLOURS[number % len(COLOURS)]]
                _points(
                    axes, found, "value", places, colour, _MARKERS[number % len(_MARKERS)], _shown(checkpoint)
                )
            ks = panel.get_column("k").unique()
            axes.set_title(f"{word}@{ks[0]}" if len(ks) == 1 else f"{word}@k")
            axes.set_xlim(-0.02, 1.02)
            axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
        middles = [n * step + (len(checkpoints) - 1) / 2 for n in range(len(benchmarks))]
        _name_rows(all_axes, _with_ks(benchmarks, panels), middles)
        all_axes[0].set_ylim(step * len(benchmarks) - 0.9, -0.9)
        handles, labels = all_axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)))
        return figure

    write_figure(path, draw, "scores")


def comparison_figure(compared: Compared, path: Path) -> None:
    """Draw the differences in correctness and length by benchmark, with 95 % intervals and a line at zero.

    Raises InputError for an ending other than .svg or .png.
    """
    rows = compared.rows
    benchmarks = rows.get_column("benchmark").unique(maintain_order=True).to_list()
    words = {"correct": "share of right answers", "tokens": "length (tokens)"}
    panels = [value for value in words if (rows.get_column("value") == value).any()]

    def draw(colours: dict[str, str]) -> Figure:
        figure, all_axes = axes_row(
            [1.0] * len(panels), height=1.2 + 1.4 * _ROW * len(benchmarks), share_y=True
        )
        for axes, value in zip(all_axes, panels, strict=True):
            found = rows.filter(pl.col("value") == value)
            places = [float(benchmarks.index(name)) for name in found["benchmark"]]
            axes.axvline(0, color=colours[INK], linewidth=0.9)
            _points(axes, found, "difference", places, colours[COLOURS[0]], "o", "")
            axes.set_title(words[value])
            axes.margins(x=0.12)
        _name_rows(
            all_axes, [_shown(name) for name in benchmarks], [float(n) for n in range(len(benchmarks))]
        )
        all_axes[0].set_ylim(len(benchmarks) - 0.3, -0.7)
        first, second = map(_shown, compared.names)
        figure.supxlabel(f"{second} minus {first}", fontsize=9, color=colours[MUTED])
        return figure

    write_figure(path, draw, "comparison")


def _panels(rows: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Rows to draw, by the word before the @: of each benchmark the score with the largest k."""
    split = rows.with_columns(
        pl.col("metric").str.split_exact("@", 1).struct.rename_fields(["word", "k"]).alias("of")
    )
    split = split.unnest("of").with_columns(pl.col("k").cast(pl.UInt32)).drop_nulls("k")
    largest = split.filter(pl.col("k") == pl.col("k").max().over("benchmark", "word"))
    found = {
        word: largest.filter((pl.col("word") == word) & ((pl.col("k") > 1) | (pl.col("word") == "avg")))
        for word in _WORDS
    }
    return {word: part for word, part in found.items() if part.height}


def _with_ks(benchmarks: Sequence[str], panels: Mapping[str, pl.DataFrame]) -> list[str]:
    """Names of the benchmarks, with their own k where a panel has several."""
    mixed = [panel.select("benchmark", "k") for panel in panels.values() if panel.n_unique("k") > 1]
    ks = pl.concat(mixed).unique().sort("k", descending=True) if mixed else None
    return [
        _shown(name)
        if ks is None
        else f"{_shown(name)}\nk = {', '.join(map(str, ks.filter(pl.col('benchmark') == name)['k']))}"
        for name in benchmarks
    ]


def _shown(name: str) -> str:
    """A name on one line, as XML can hold it."""
    text = printable(" ".join(name.split()))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def _points(
    axes: Axes, rows: pl.DataFrame, value: str, places: Sequence[float], colour: str, marker: str, label: str
) -> None:
    """A point a row, and its interval where it has one."""
    axes.plot(rows[value].to_list(), places, marker, color=colour, label=label)
    known = [
        (place, low, high)
        for place, low, high in zip(places, rows["low"], rows["high"], strict=True)
        if low is not None and high is not None
    ]
    if known:
        at, lows, highs = zip(*known, strict=True)
        axes.hlines(at, lows, highs, color=colour, linewidth=1.4)


def _name_rows(all_axes: Sequence[Axes], benchmarks: Sequence[str], places: Sequence[float]) -> None:
    all_axes[0].set_yticks(list(places), list(benchmarks))
    for axes in all_axes:
        axes.grid(visible=True, axis="x")
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0, labelleft=axes is all_axes[0])


def write_figure(path: Path, draw: Callable[[dict[str, str]], Figure], name: str) -> None:
    """Write ``draw(colours)`` to ``path``, whole or not at all; the same figure gives the same bytes.

    ``draw`` gets the real colour of each stand-in of ``report.drawing``; ``name`` seeds the ids inside. Raises
    InputError for an ending other than .svg or .png.
    """
    if path.suffix not in FORMATS:
        raise InputError(f"figure {path}: wanted a name that ends in {' or '.join(FORMATS)}")
    colours = page_colours()
    buffer = io.BytesIO()
    with matplotlib.rc_context({**with_colours(colours), "svg.hashsalt": name}):
        figure = draw(colours)
        if path.suffix == ".svg":
            FigureCanvasSVG(figure)
            figure.savefig(
                buffer, format="svg", facecolor=colours[PAPER], metadata={"Date": None, "Creator": None}
            )
        else:
            FigureCanvasAgg(figure)
            figure.savefig(
                buffer, format="png", dpi=160, facecolor=colours[PAPER], metadata={"Software": None}
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, buffer.getvalue())
