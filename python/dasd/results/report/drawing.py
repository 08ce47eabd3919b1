"""Matplotlib figures as inline SVG whose colours are the page's, so that one figure serves light and dark.

Figures are drawn in stand-in colours; ``to_svg`` turns each into the CSS variable of its role. Text stays
text.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

__all__ = [
    "COLOURS",
    "INK",
    "KIND_COLOURS",
    "MUTED",
    "PAPER",
    "RULE",
    "Drawing",
    "Plot",
    "axes_row",
    "drawing",
    "page_colours",
    "spread_wide",
    "to_svg",
    "with_colours",
]

INK, MUTED, RULE, PAPER = "#010101", "#020202", "#030303", "#040404"
COLOURS = ("#050505", "#060606", "#070707", "#080808", "#090909", "#0b0b0b")
"""Series, in order."""
KIND_COLOURS = {
    "teacher": "#0c0c0c",
    "student": "#0d0d0d",
    "common": "#0e0e0e",
    "shared": "#0f0f0f",
    "boosted": "#101010",
    "distilled": "#121212",
}
_VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    RULE: "rule",
    PAPER: "paper",
    **{colour: f"series-{index}" for index, colour in enumerate(COLOURS)},
    **{colour: kind for kind, colour in KIND_COLOURS.items()},
}

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "text.color": INK,
    "text.parse_math": False,  # names may hold dollar signs
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.facecolor": "none",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "axes.formatter.use_mathtext": False,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "figure.facecolor": "none",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.0,
}


@dataclass(frozen=True, slots=True)
class Plot:
    """A figure as matplotlib has it."""

    figure: Figure
    what: str
    """Its marks, for those who are read to."""
    caption: str
    """What is seen and how it was computed, in plain text."""
    n: str
    """What it was drawn from, e.g. ``"n = 400 responses"``."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure of the page."""

    figure: str
    """Short name, used as the element's id."""
    title: str
    svg: str
    caption: str
    n: str


def drawing(name: str, title: str, draw: Callable[[], Plot]) -> Drawing:
    """What ``draw`` gives, with the page's settings; matplotlib's own are as before once this returns."""
    with matplotlib.rc_context(_SETTINGS):
        plot = draw()
        svg = to_svg(plot.figure, name, f"{title}: {plot.what}; {plot.n}")
    return Drawing(name, title, svg, plot.caption, plot.n)


def page_colours() -> dict[str, str]:
    """The page's own colours, on a light ground, of the stand-in ones: for figures outside a page."""
    style = files("dasd.results.report").joinpath("templates/style.css").read_text(encoding="utf-8")
    light = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", style.partition("@media")[0]))
    return {colour: light[variable] for colour, variable in _VARIABLES.items()}


def with_colours(colours: Mapping[str, str]) -> dict[Any, Any]:
    """The page's settings of matplotlib with ``colours`` in place of the stand-in ones."""
    return {
        name: colours.get(value, value) if isinstance(value, str) else value
        for name, value in _SETTINGS.items()
    }


_WIDTH = 7.6
"""Of a figure, in inches."""
_SPREAD = 20.0
"""Largest over smallest value from which on an axis is logarithmic."""


def axes_row(widths: Sequence[float], height: float, *, share_y: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure with one row of axes of these relative widths; ``height`` in inches."""
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    grid = figure.add_gridspec(1, len(widths), width_ratios=list(widths))
    axes: list[Axes] = []
    for column in range(len(widths)):
        shared = axes[0] if share_y and axes else None
        axes.append(figure.add_subplot(grid[0, column], sharey=shared))
    return figure, axes


def spread_wide(axes: Axes, values: Sequence[float]) -> bool:
    """Make the y axis logarithmic where ``values`` spread so far that a linear one would hide the small ones.

    Call it before limits are set. Returns whether it did; the words at the axis must then say so.
    """
    if min(values) <= 0 or max(values) < _SPREAD * min(values):
        return False
    axes.set_yscale("log", subs=(1, 2, 5))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(values) < 200 * min(values) else (1,)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    return True


def to_svg(figure: Figure, name: str, description: str) -> str:
    """``figure`` as an ``<svg>`` element that scales to its container and is read out as ``description``.

    ``name`` keeps the ids inside apart from those of other figures. The same figure gives the same text.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        FigureCanvasSVG(figure)
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = svg.replace("xlink:href", "href")
    # Ids that matplotlib numbers anew in every figure.
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    # The page's own font; sizes and weights stay.
    svg = re.sub(
        r"font: (?:(\d+|bold) )?([\d.]+px) [^;\"]*",
        lambda match: f"font-size: {match[2]}" + (f"; font-weight: {match[1]}" if match[1] else ""),
        svg,
    )
    box = re.search(r'viewBox="[^"]+"', svg)
    assert box is not None
    head = f'<svg role="img" aria-label="{escape(description)}" {box[0]}>'
    return re.sub(r"^<svg.*?>", lambda _: head, svg, count=1, flags=re.DOTALL)
