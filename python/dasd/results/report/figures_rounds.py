"""The figure of on-policy rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.ticker import MaxNLocator

from dasd.results.report.data import RoundFigures
from dasd.results.report.drawing import COLOURS, Plot, axes_row
from dasd.results.report.numbers import count

__all__ = ["rounds_figure"]

_PANELS: tuple[tuple[str, Callable[[RoundFigures], float | None], float], ...] = (
    ("Reverse KL (nats a token)", lambda item: item.reverse_kl_per_token, 1.0),
    ("Entropy (nats a token)", lambda item: item.entropy_per_token, 1.0),
    ("Right answers (%)", lambda item: item.accuracy, 100.0),
    ("Cut off (%)", lambda item: item.cut_off_share, 100.0),
)


def rounds_figure(rounds: Sequence[RoundFigures]) -> Plot:
    """Figures of the student's answers over the rounds, a curve a training."""
    panels = [panel for panel in _PANELS if any(panel[1](item) is not None for item in rounds)]
    figure, all_axes = axes_row([1.0] * len(panels), height=2.5)
    stages = list(dict.fromkeys(item.stage for item in rounds))
    for axes, (title, value, scale) in zip(all_axes, panels, strict=True):
        for index, stage in enumerate(stages):
            known = [
                (item.round, found)
                for item in rounds
                if item.stage == stage and (found := value(item)) is not None
            ]
            axes.plot(
                [place for place, _ in known],
                [scale * found for _, found in known],
                "o-",
                color=COLOURS[index % len(COLOURS)],
                label=stage,
            )
        axes.set_title(title)
        axes.set_ylim(bottom=0)
        axes.margins(y=0.15)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    if len(stages) > 1:
        all_axes[-1].legend(loc="best")
    figure.supxlabel("round", fontsize=9)
    return Plot(
        figure,
        "one curve for each training over its rounds",
        "What the student of each round's start answers to training questions, before the round trains it on these "
        "answers. The questions differ from round to round where a round asks a part of them.",
        f"n = {count(sum(item.answers for item in rounds))} answers of the student",
    )
