"""Figures of docs/evidence.md: learning curves over budgets, and what selection does at one budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from dasd.evaluation.statistics import Estimate, mean_over_questions, t_interval
from dasd.results.report.drawing import COLOURS, axes_row
from dasd.results.score_figures import write_figure

__all__ = ["curves", "points"]

_CURVES = {"accuracy": "accuracy, T=1.0", "macro": "accuracy, each style forced", "kl": "KL, nats a response"}
_MARKERS = ("o", "s", "^", "D", "v", "P")


def curves(table: pl.DataFrame, world: str, arms: Sequence[str], path: Path) -> None:
    """Mean over seeds with its 95 % interval against the budget's steps, one line an arm."""
    rows = table.filter(pl.col("world") == world)

    def draw(colours: dict[str, str]) -> Figure:
        figure, panels = axes_row([1.0] * len(_CURVES), height=3.2)
        drawn = rows.filter((pl.col("measure") == "steps") & pl.col("arm").is_in(list(arms)))
        reached = sorted(each.value for each in _means(drawn).values())
        for axes, (measure, words) in zip(panels, _CURVES.items(), strict=True):
            for number, arm in enumerate(arms):
                cells = rows.filter(pl.col("arm") == arm)
                steps = _means(cells.filter(pl.col("measure") == "steps"))
                values = _means(cells.filter(pl.col("measure") == measure))
                found = sorted((steps[budget].value, each) for budget, each in values.items())
                colour, marker = colours[COLOURS[number % len(COLOURS)]], _MARKERS[number % len(_MARKERS)]
                axes.plot(
                    [x for x, _ in found],
                    [y.value for _, y in found],
                    marker,
                    ls="-",
                    color=colour,
                    label=arm,
                )
                for x, each in found:
                    _interval(axes, each, colour, x=x)
            axes.set_xscale("log")
            axes.set_xticks(reached, [f"{steps:,.0f}" for steps in reached])
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_title(words)
            axes.set_xlabel("optimiser steps")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=max(1, len(labels)))
        return figure

    write_figure(path, draw, path.stem)


def points(table: pl.DataFrame, world: str, arms: Sequence[str], budget: str, path: Path) -> None:
    """One row an arm, one panel a measure, mean over seeds with its 95 % interval."""
    rows = table.filter((pl.col("world") == world) & (pl.col("budget") == budget))

    def draw(colours: dict[str, str]) -> Figure:
        figure, panels = axes_row([1.0] * len(_CURVES), height=0.9 + 0.24 * len(arms), share_y=True)
        for axes, (measure, words) in zip(panels, _CURVES.items(), strict=True):
            for number, arm in enumerate(arms):
                found = _means(rows.filter((pl.col("measure") == measure) & (pl.col("arm") == arm)))
                for each in found.values():
                    axes.plot(each.value, number, "o", color=colours[COLOURS[0]])
                    _interval(axes, each, colours[COLOURS[0]], y=number)
            axes.set_title(words)
        panels[0].set_yticks(range(len(arms)), arms)
        panels[0].set_ylim(len(arms) - 0.4, -0.6)
        for axes in panels[1:]:
            axes.tick_params(labelleft=False)
        return figure

    write_figure(path, draw, path.stem)


def _means(rows: pl.DataFrame) -> dict[str, Estimate]:
    """Budget -> mean over seeds."""
    found = {}
    for (budget,), part in rows.group_by("budget"):
        value, error = mean_over_questions(part["value"])
        found[str(budget)] = Estimate(value, error, part.height, part.height)
    return found


def _interval(axes: Axes, each: Estimate, colour: str, x: float | None = None, y: float = 0.0) -> None:
    """A line from end to end: upright at ``x``, or level at ``y``."""
    interval = t_interval(each)
    if interval is None:
        return
    ends = [interval.low, interval.high]
    if x is None:
        axes.plot(ends, [y, y], color=colour, lw=1)
    else:
        axes.plot([x, x], ends, color=colour, lw=1)
