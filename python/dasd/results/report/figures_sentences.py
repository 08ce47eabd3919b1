"""The figures about responses and sentences: each from a small frame, each with its n and its caption."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dasd.evaluation.statistics.density import density
from dasd.results.report.drawing import COLOURS, INK, KIND_COLOURS, MUTED, Plot, axes_row
from dasd.results.report.numbers import count

__all__ = [
    "KIND_WORDS",
    "answer_probabilities_figure",
    "cut_off_figure",
    "density_figure",
    "positions_figure",
    "probabilities_figure",
    "selected_density_figure",
]

KIND_WORDS = {
    "teacher": "Teacher",
    "student": "Student",
    "common": "Common",
    "shared": "Shared",
    "boosted": "Boosted",
}
_ANSWERS = {True: "right answers", False: "wrong answers", None: "answers not graded"}
_STYLES = ("-", "--", "-.", ":")
_MODELS = (
    ("p_teacher", "teacher", "teacher", "-", "o"),
    ("p_student", "student before distillation", "student", "--", "s"),
    ("p_distilled", "distilled student", "distilled", ":", "D"),
)
"""Column of SENTENCES, words, colour, line and marker of each model's curve."""


def density_figure(probabilities: pl.DataFrame) -> Plot:
    """Density of the response probability by temperature, from ``series.response_probabilities``."""
    figure, (axes,) = axes_row([1.0], height=2.9)
    parts: list[str] = []
    grid = _grid(probabilities)
    for index, group in enumerate(probabilities.partition_by("stage", maintain_order=True)):
        label = f"{group['stage'][0].removeprefix('sample-')}, T = {group['temperature'][0]:g}"
        _curve(axes, group, grid, COLOURS[index % len(COLOURS)], _STYLES[index % len(_STYLES)], label)
        noun = "" if parts else " responses"
        parts.append(f"{count(group.height)}{noun} at T = {group['temperature'][0]:g}")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("response probability (geometric mean of its tokens' probabilities)")
    axes.set_ylabel("density")
    axes.legend(loc="upper left")
    return Plot(
        figure,
        "one density curve for each sampling temperature",
        "Kernel density of the teacher's responses before filtering. Probabilities are raw: at temperature 1 "
        "whatever the sampling temperature. Ticks on the axis mark the medians.",
        f"n = {', '.join(parts)}",
    )


def selected_density_figure(probabilities: pl.DataFrame) -> Plot:
    """Density of the response probability of selected and of random responses; a panel a stage.

    ``probabilities``: from ``series.selected_and_random``.
    """
    stages = probabilities.partition_by("stage", maintain_order=True)
    figure, all_axes = axes_row([1.0] * len(stages), height=2.9)
    parts: list[str] = []
    grid = _grid(probabilities)
    for axes, stage in zip(all_axes, stages, strict=True):
        for index, group in enumerate(stage.partition_by("group", maintain_order=True)):
            _curve(axes, group, grid, COLOURS[index], _STYLES[index], group["group"][0])
        axes.set_ylim(bottom=0)
        axes.set_title(f"{stage['stage'][0]}, T = {stage['temperature'][0]:g}")
        axes.legend(loc="upper left")
        noun = "" if parts else " responses of each kind"
        parts.append(
            f"{count(stage.filter(pl.col('group') == 'selected').height)}{noun} ({stage['stage'][0]})"
        )
    all_axes[0].set_ylabel("density")
    return Plot(
        figure,
        "two density curves for each selection",
        "Kernel density of the teacher's probability of the responses that were selected, and of as many that a seeded "
        "draw takes from the same questions' candidates. Raw probabilities, at temperature 1. Ticks on the axis mark "
        "the medians.",
        f"n = {', '.join(parts)}",
    )


def _grid(probabilities: pl.DataFrame) -> npt.NDArray[np.float64]:
    """Where densities are drawn: from just below the lowest response to 1."""
    lowest = float(np.quantile(probabilities["p"].to_numpy(), 0.002)) - 0.05
    return np.linspace(max(0.0, lowest), 1.0, 256)


def _curve(
    axes: Axes, group: pl.DataFrame, grid: npt.NDArray[np.float64], colour: str, style: str, label: str
) -> None:
    """Density of column p, its area and a tick at its median."""
    values = group["p"].to_numpy()
    heights = density(values, grid)
    axes.plot(grid, heights, style, color=colour, label=label)
    axes.fill_between(grid, heights, color=colour, alpha=0.12, linewidth=0)
    axes.axvline(float(np.median(values)), color=colour, linewidth=0.8, alpha=0.8, ymax=0.06)
    axes.set_xlim(float(grid[0]), 1.0)
    axes.set_xlabel("response probability")


def positions_figure(shares: pl.DataFrame, caption: str) -> Plot:
    """Stacked shares of the kinds of sentences by position, from ``series.positions``; a panel a group."""
    groups = shares.partition_by("correct", maintain_order=True)
    groups.sort(key=lambda group: {True: 0, False: 1, None: 2}[group["correct"][0]])
    figure, all_axes = axes_row([1.0] * len(groups), height=2.9, share_y=True)
    parts = []
    for axes, group in zip(all_axes, groups, strict=True):
        words = _ANSWERS[group["correct"][0]]
        sentences = int(group.unique("bin")["sentences"].sum())
        responses = int(group["responses"][0])
        parts.append(f"{count(sentences)} sentences of {count(responses)} responses with {words}")
        bins = 1 + max(group["bin"].to_list())
        bottom = np.zeros(bins)
        centres = (np.arange(bins) + 0.5) / bins
        for kind in KIND_WORDS:
            rows = group.filter(pl.col("kind") == kind)
            heights = np.zeros(bins)
            heights[rows["bin"].to_numpy()] = rows["share"].to_numpy()
            if heights.any():
                axes.bar(
                    centres,
                    heights,
                    width=0.94 / bins,
                    bottom=bottom,
                    color=KIND_COLOURS[kind],
                    label=KIND_WORDS[kind],
                    linewidth=0,
                )
            bottom += heights
        axes.set_title(words.capitalize())
        axes.set_ylim(0, 1)
        _from_start_to_end(axes)
        axes.grid(visible=False)
    all_axes[0].set_ylabel("share of sentences")
    for axes in all_axes[1:]:
        axes.tick_params(labelleft=False)
    handles: dict[str, Artist] = {}
    for axes in all_axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(list(handles.values()), list(handles), loc="outside right center", reverse=True)
    return Plot(figure, "stacked bars of shares", caption, "n = " + "; ".join(parts))


def probabilities_figure(sentences: pl.DataFrame) -> Plot:
    """The probabilities of one response's sentences along the response; ``sentences`` in order."""
    figure, (axes,) = axes_row([1.0], height=2.8)
    number = np.arange(1, sentences.height + 1)
    for kind, colour in KIND_COLOURS.items():
        rows = number[(sentences["kind"] == kind).to_numpy()]
        if kind in ("teacher", "student", "boosted") and len(rows):
            axes.bar(rows, np.ones(len(rows)), width=1.0, color=colour, alpha=0.14, linewidth=0)
    third = sentences["p_distilled"].null_count() < sentences.height
    _model_curves(axes, number, sentences, _MODELS[: 3 if third else 2], marked=sentences.height <= 60)
    axes.set_xlim(0.5, sentences.height + 0.5)
    axes.set_ylim(0, 1.02)
    if sentences.height <= 24:
        axes.set_xticks(number)
    axes.set_xlabel("sentence")
    axes.set_ylabel("probability")
    figure.legend(loc="outside upper left", ncols=3)
    return Plot(
        figure,
        "probability of each sentence under each model",
        "Geometric mean of the token probabilities in each sentence, each model with its own tokenizer. "
        "Shaded behind: Teacher, Student and Boosted sentences, in the colours of the text below.",
        f"n = 1 response of {count(sentences.height)} sentences",
    )


def answer_probabilities_figure(along: pl.DataFrame, sentences: pl.DataFrame, parts: int, drawn: str) -> Plot:
    """Mean probability of a sentence under each model along the student's own answers; a panel for right and wrong.

    ``along``: from ``answers.along_answers``, of ``sentences``; ``drawn``: which answers these are, in a sentence.
    """
    groups = along.partition_by("correct", maintain_order=True)
    figure, all_axes = axes_row([1.0] * len(groups), height=2.9, share_y=True)
    words = []
    for axes, group in zip(all_axes, groups, strict=True):
        own = sentences.filter(pl.col("correct") == group["correct"][0])
        name = _ANSWERS[group["correct"][0]]
        words.append(f"{count(own.height)} sentences of {count(own['sample_id'].n_unique())} {name}")
        centres = (group["part"].to_numpy() + 0.5) / parts
        _model_curves(axes, centres, group, _MODELS)
        axes.set_title(name.capitalize())
        axes.set_ylim(0, 1.02)
        _from_start_to_end(axes)
    all_axes[0].set_ylabel("probability")
    for axes in all_axes[1:]:
        axes.tick_params(labelleft=False)
    handles, labels = all_axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=3)
    return Plot(
        figure,
        "mean under three models by position",
        f"{drawn} Means over the sentences in each tenth of an answer; a sentence's probability is the geometric mean "
        "of its tokens' under each model.",
        f"n = {'; '.join(words)}",
    )


def _model_curves(
    axes: Axes,
    places: npt.NDArray[Any],
    rows: pl.DataFrame,
    models: Sequence[tuple[str, str, str, str, str]],
    *,
    marked: bool = True,
) -> None:
    """The probability under each of ``models``."""
    for column, words, colour, style, marker in models:
        axes.plot(
            places,
            rows[column].cast(pl.Float64).to_numpy(),
            style,
            marker=marker if marked else "",
            markersize=3.5,
            color=KIND_COLOURS[colour],
            label=words,
        )


def _from_start_to_end(axes: Axes) -> None:
    """An x axis of relative positions in a response."""
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["start", "middle", "end"])
    axes.get_xticklabels()[0].set_horizontalalignment("left")
    axes.get_xticklabels()[-1].set_horizontalalignment("right")


def cut_off_figure(bins: pl.DataFrame) -> Plot:
    """Share of cut-off answers by length of the training response.

    ``bins``: columns curve (string), low and high (tokens), share, standard_error, n.
    """
    figure, (axes,) = axes_row([1.0], height=2.9)
    curves = bins.partition_by("curve", maintain_order=True)
    for index, rows in enumerate(curves):
        middle = ((rows["low"] + rows["high"]) / 2).to_numpy()
        axes.errorbar(
            middle,
            100 * rows["share"].to_numpy(),
            yerr=100 * rows["standard_error"].to_numpy(),
            fmt="o" + _STYLES[index % len(_STYLES)],
            capsize=2.5,
            elinewidth=1.0,
            color=COLOURS[index % len(COLOURS)],
            label=rows["curve"][0],
        )
        for x, y, size in zip(middle, rows["share"], rows["n"], strict=True):
            axes.annotate(
                str(size), (x, 100 * y), xytext=(5, 5), textcoords="offset points", fontsize=7.5, color=MUTED
            )
    axes.set_ylim(bottom=0)
    axes.margins(y=0.15)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("length of the teacher's response to the same question (tokens)")
    axes.set_ylabel("answers cut off (%)")
    if len(curves) > 1:
        axes.legend(loc="best")
    axes.axhline(0, color=INK, linewidth=0.4)
    caption = (
        "Share of the student's own answers in the mixed-policy stage that hit the cap, by the length of the response "
        "it was trained on; bars are one standard error, small figures the answers in each bin. A rate that rises "
        "with the length is exposure bias."
    )
    return Plot(
        figure, "points with error bars", caption, f"n = {count(int(bins['n'].sum()))} answers of the student"
    )
