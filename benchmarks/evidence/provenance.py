"""Where the sentences of the students' own answers come from, in a table and a figure (the report's figures 5, 6)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
from matplotlib.figure import Figure

from benchmarks.evidence.answers import KINDS, PARTS
from benchmarks.evidence.verdicts import mean_and_error
from dasd.evaluation.statistics import mean_over_questions
from dasd.results.report.drawing import KIND_COLOURS, axes_row
from dasd.results.score_figures import write_figure

__all__ = ["DRAWN", "provenance_figure", "provenance_table"]

DRAWN = ("high", "divergence")
_ANSWERS = ("right", "wrong")


def provenance_table(rows: pl.DataFrame, arms: Sequence[str], budget: str) -> Iterator[str]:
    """Share of each kind among the sentences of right and of wrong answers, mean over seeds ± standard error."""
    yield "| arm | answers | " + " | ".join(KINDS) + " |"
    yield "|---|---|" + "---|" * len(KINDS)
    for arm in arms:
        for answers in _ANSWERS:
            values = [_values(rows, arm, budget, f"answers.{answers}.{kind}") for kind in KINDS]
            if not all(len(each) for each in values):
                continue
            shown = [mean_and_error(each, 2) for each in values]
            yield f"| {arm} | {answers} | " + " | ".join(shown) + " |"


def provenance_figure(rows: pl.DataFrame, budget: str, path: Path) -> None:
    """Share of each kind by third of the answer: a panel for the right and for the wrong answers of two arms."""

    def draw(colours: dict[str, str]) -> Figure:
        figure, panels = axes_row([1.0] * (len(DRAWN) * len(_ANSWERS)), height=3.0, share_y=True)
        cases = [(arm, answers) for arm in DRAWN for answers in _ANSWERS]
        for axes, (arm, answers) in zip(panels, cases, strict=True):
            for kind in KINDS:
                found = [_values(rows, arm, budget, f"answers.{answers}.{kind}.{part}") for part in PARTS]
                if all(len(each) for each in found):
                    means = [mean_over_questions(each)[0] for each in found]
                    axes.plot(range(len(PARTS)), means, "o-", color=colours[KIND_COLOURS[kind]], label=kind)
            axes.set_xticks(range(len(PARTS)), PARTS)
            axes.set_title(f"{arm}, {answers}")
            axes.set_xlabel("third of the answer")
        panels[0].set_ylabel("share of sentences")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=max(1, len(labels)))
        return figure

    write_figure(path, draw, path.stem)


def _values(rows: pl.DataFrame, arm: str, budget: str, measure: str) -> pl.Series:
    """The measure by seed."""
    chosen = (pl.col("arm") == arm) & (pl.col("budget") == budget) & (pl.col("measure") == measure)
    return rows.filter(chosen).sort("seed")["value"]
