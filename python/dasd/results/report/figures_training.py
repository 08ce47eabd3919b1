"""The figures about trainings and checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

import polars as pl
from matplotlib.ticker import MaxNLocator

from dasd.results.report.data import CheckpointFigures
from dasd.results.report.drawing import COLOURS, INK, MUTED, Plot, axes_row, spread_wide
from dasd.results.report.numbers import count, plus_minus

__all__ = ["checkpoints_figure", "losses_figure"]


def losses_figure(losses: pl.DataFrame) -> Plot:
    """Loss of every training, side by side on one scale, from ``series.losses``."""
    groups = losses.partition_by("stage", maintain_order=True)
    steps = [int(group["step"][-1]) for group in groups]
    # As wide as the training is long, but never too narrow to read.
    widths = [max(number, 0.3 * max(steps)) for number in steps]
    figure, all_axes = axes_row(widths, height=2.8, share_y=True)
    parts = []
    for index, (axes, group) in enumerate(zip(all_axes, groups, strict=True)):
        stage = group["stage"][0].removeprefix("train-")
        axes.plot(
            group["step"].to_numpy().astype(float),
            group["loss"].to_numpy(),
            color=COLOURS[index % len(COLOURS)],
        )
        # About twelve bold letters an inch; a long name takes a second line.
        axes.set_title(fill(stage, max(6, round(85 * widths[index] / sum(widths)))))
        axes.set_xlim(0, max(steps[index], 1))
        axes.xaxis.set_major_locator(
            MaxNLocator(nbins=max(2, round(6 * widths[index] / max(widths))), integer=True)
        )
        parts.append(f"{count(steps[index])} steps of {stage}")
    wide = spread_wide(all_axes[0], losses["loss"].to_list())
    for axes in all_axes[1:]:
        axes.tick_params(labelleft=False)
    all_axes[0].set_ylabel("loss (nats a token" + (", log scale)" if wide else ")"))
    figure.supxlabel("optimiser step", fontsize=9)
    return Plot(
        figure,
        "one curve for each training",
        "Mean cross-entropy over the trained tokens of each step; long trainings are averaged over equal "
        "runs of steps. Each stage trains on data of its own, so levels of two stages can't be compared.",
        "n = " + ", ".join(parts),
    )


def checkpoints_figure(checkpoints: Sequence[CheckpointFigures], benchmark: str | None) -> Plot:
    """Accuracy and KL of the student over the checkpoints, with one standard error each way."""
    students = [checkpoint for checkpoint in checkpoints if checkpoint.role != "teacher"]
    teacher = next((checkpoint for checkpoint in checkpoints if checkpoint.role == "teacher"), None)
    panels = [
        (name, words, scale)
        for name, words, scale in (
            ("accuracy", "Accuracy (%)", 100.0),
            ("kl_nats_per_response", "KL to the teacher (nats a response)", 1.0),
        )
        if any(_value(checkpoint, name, benchmark) for checkpoint in students)
    ]
    figure, all_axes = axes_row([1.0] * len(panels), height=2.8)
    for index, (axes, (name, words, scale)) in enumerate(zip(all_axes, panels, strict=True)):
        places, values, errors = [], [], []
        for place, checkpoint in enumerate(students):
            found = _value(checkpoint, name, benchmark)
            if found is not None:
                places.append(place)
                values.append(scale * found[0])
                errors.append(scale * found[1])
        axes.errorbar(places, values, yerr=errors, fmt="o-", capsize=3, elinewidth=1.0, color=COLOURS[index])
        logarithmic = name != "accuracy" and spread_wide(axes, values)
        following = [*values[1:], values[-1]]
        for place, value, error, after in zip(places, values, errors, following, strict=True):
            # Beside the point, on the side that the line to the next one leaves free, but not on the axis.
            rises = after > value
            low = not logarithmic and value < 0.1 * max(values)
            axes.annotate(
                plus_minus(value, error).partition(" ")[0],
                (place, value),
                xytext=(-3 if rises and low else 6, 8 if low else -11 if rises else 6),
                horizontalalignment="right" if rises and low else "left",
                textcoords="offset points",
                fontsize=8,
                color=INK,
            )
        reference = _value(teacher, name, benchmark) if teacher is not None and name == "accuracy" else None
        if reference is not None:
            axes.axhline(scale * reference[0], color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
            axes.annotate(
                f"teacher {scale * reference[0]:.1f}",
                (0.0, scale * reference[0]),
                xycoords=("axes fraction", "data"),
                xytext=(4, -3),
                textcoords="offset points",
                fontsize=8,
                color=MUTED,
                va="top",
            )
        axes.set_title(words.replace(")", ", log scale)") if logarithmic else words)
        if not logarithmic:
            axes.set_ylim(bottom=0 if min(values) >= 0 else None)
        axes.margins(y=0.18)
        axes.set_xlim(-0.3, len(students) - 0.5)
        names = [checkpoint.name for checkpoint in students]
        # About eighty letters of ticks fit side by side in the whole figure.
        axes.set_xticks(range(len(names)), names)
        if max(map(len, names)) * len(names) * len(panels) > 80:
            for label in axes.get_xticklabels():
                label.set(rotation=20, horizontalalignment="right", rotation_mode="anchor")
    sizes = sorted(
        {
            f"{count(metric.n)} {'held-out responses' if name.startswith('kl') else 'questions'}"
            for name, _, _ in panels
            for checkpoint in students
            if (metric := checkpoint.metric(name, benchmark=_of(name, benchmark))) is not None
        }
    )
    return Plot(
        figure,
        "points with error bars, before training and after each",
        "Bars are one standard error each way: over questions for the accuracy, over held-out responses for "
        "the KL. They don't cover the difference between runs with other seeds.",
        "n = " + ", ".join(sizes),
    )


def _of(name: str, benchmark: str | None) -> str | None:
    """The KL is of the held-out responses, whichever benchmark is looked at."""
    return None if name.startswith("kl") else benchmark


def _value(checkpoint: CheckpointFigures, name: str, benchmark: str | None) -> tuple[float, float] | None:
    """Value and standard error (0 if unknown) of a metric, None without one."""
    metric = checkpoint.metric(name, benchmark=_of(name, benchmark))
    if metric is None or metric.value is None:
        return None
    return metric.value, metric.standard_error or 0.0
