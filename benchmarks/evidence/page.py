"""Writes the results part of a page of docs, a scale's between its two marks, and the figures beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.evidence.arms import ARMS
from benchmarks.evidence.comparisons import against, in_sequence
from benchmarks.evidence.provenance import DRAWN, provenance_figure, provenance_table
from benchmarks.evidence.results import Found, keep, load
from benchmarks.evidence.scale import FULL, QUICK, SCALES, Scale
from benchmarks.evidence.verdicts import Tested, held_against, mean_and_error
from benchmarks.evidence.worlds import WORLDS, World
from dasd.base.files import write_whole
from dasd.errors import InputError

__all__ = ["marks", "write_page"]

_MEASURES = {
    "accuracy": "T=1.0",
    "accuracy_warm": "T=0.6",
    "accuracy_greedy": "greedy",
    "macro_known": "known styles",
    "macro_new": "new styles",
    "macro_in_style": "right in style",
    "kl": "KL",
    "coverage": "coverage",
    "length_tokens": "tokens",
    "cut_off_rate": "cut off",
}
_BUDGETS = tuple(dict.fromkeys(budget for scale in SCALES.values() for budget in scale.steps))
RETIRED = "d289d84"
"""The last commit with the arms that are gone."""


def marks(scale: Scale) -> tuple[str, str]:
    """Between which lines of the page the results of ``scale`` stand; the quick ones take the place of the full."""
    if not _own(scale):
        return "<!-- results: written by `python -m benchmarks.evidence page` -->", "<!-- end of results -->"
    command = f"python -m benchmarks.evidence page --scale {scale.name}"
    return f"<!-- results: written by `{command}` -->", f"<!-- end of results, scale {scale.name} -->"


def _own(scale: Scale) -> bool:
    """Whether it has a section of its own."""
    return scale.name not in (FULL.name, QUICK.name)


def write_page(directory: Path, docs: Path, scale: Scale = FULL) -> str:
    """Replace the results of ``scale`` in its page in ``docs``; returns what to tell.

    The figures are also kept as ``docs/evidence/SCALE.parquet`` and ``.json``, and come from there when ``directory``
    holds none.
    """
    from benchmarks.evidence.figures import curves, points

    page = docs / scale.page
    text = page.read_text(encoding="utf-8")
    begin, end = marks(scale)
    if text.count(begin) != 1 or text.count(end) != 1:
        raise InputError(f"{page}: wanted the marks {begin} and {end}, once each")
    kept = docs / "evidence" / scale.name
    found = load(directory, kept)
    table = found.table
    keep(found, kept)
    heading = f", scale {scale.name}" if _own(scale) else ""
    tested = held_against(table)
    if heading:
        tested = [each for each in tested if each.seeds]
    lines = [*_hypotheses(tested, scale, heading), *_worlds(found, heading)]
    if found.machines and heading:
        lines = ["", f"Run on {'; '.join(found.machines)}.", *lines]
    for world in table["world"].unique().sort():
        here = set(table.filter(pl.col("world") == world)["arm"])
        several = table.filter(pl.col("budget") != "0")["budget"].n_unique() > 1
        in_curves = [
            arm.name for arm in ARMS if several and len(scale.budgets_of(arm)) > 1 and arm.name in here
        ]
        at_3x = [arm.name for arm in ARMS if "3x" in scale.budgets_of(arm) and arm.name in here]
        lines += ["", f"### World `{world}`", "", *_table(table.filter(pl.col("world") == world))]
        for name, drawn in (("curves", in_curves), ("arms", at_3x)):
            # A 95 % interval over two seeds is wider than any figure of them.
            if drawn and table["seed"].n_unique() != 2:
                path = docs / "evidence" / f"{world}-{name}.svg"
                if name == "curves":
                    curves(table, world, drawn, path)
                else:
                    points(table, world, drawn, "3x", path)
                lines += ["", f"![{world}: {name}](evidence/{path.name})"]
        lines += _details(table, world, docs)
    head, rest = text.split(begin)
    tail = rest.split(end)[1]
    write_whole(page, "\n".join([f"{head}{begin}", *lines, "", f"{end}{tail}"]).encode())
    return f"{page}: {table.select('world', 'seed', 'arm', 'budget').unique().height} cells"


def _details(table: pl.DataFrame, world: str, docs: Path) -> Iterator[str]:
    """What the hypotheses don't say: a selector of our own against three, stages in sequence, provenance of answers."""
    rows = table.filter(pl.col("world") == world)
    arms = set(rows["arm"])
    if "coverage" in arms:
        yield from [
            "",
            "`coverage` against the others, 3x (not tested):",
            "",
            *against(table, world, "coverage", "3x"),
        ]
    if "mixed" in arms:
        yield from ["", "After each stage of `mixed`, 3x:", "", *in_sequence(table, world, "3x")]
    asked = [name for name in (*DRAWN, "mixed") if name in arms]
    if asked:
        yield from ["", "Sentences of the student's own answers by kind, 3x:", ""]
        yield from provenance_table(rows, asked, "3x")
        path = docs / "evidence" / f"{world}-provenance.svg"
        provenance_figure(rows, "3x", path)
        yield from ["", f"![{world}: kinds of sentences along answers](evidence/{path.name})"]


def _hypotheses(tested: Sequence[Tested], scale: Scale, heading: str) -> Iterator[str]:
    yield ""
    yield f"### Hypotheses{heading}"
    yield ""
    yield "*again*: what to give after `python -m benchmarks.evidence` to run these cells; `table` gathers them."
    yield ""
    yield "| | world | seeds | first | second | difference | 95 % interval | p | p (Holm) | p (all) | verdict | again |"
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|"
    for each in tested:
        what = each.hypothesis
        option = "" if scale.name == FULL.name else f"--scale {scale.name} "
        again = f"`run {option}--world {each.world} --arm {what.arm} --arm {what.than}`"
        if what.retired:
            again = f"at `{RETIRED}`: {again}"
        interval = "" if each.low is None else f"{each.low:+.3f} to {each.high:+.3f}"
        yield (
            f"| {what.name} {what.measure}, {what.arm} - {what.than}, {what.budget} | {each.world} | {each.seeds} "
            f"| {_number(each.first)} | {_number(each.second)} | {_number(each.difference, '+.3f')} | {interval} "
            f"| {_number(each.p_value)} | {_number(each.p_holm)} | {_number(each.p_all)} "
            f"| {each.verdict} | {again} |"
        )


def _worlds(found: Found, heading: str) -> Iterator[str]:
    """What each world and seed is like before any distillation."""
    yield ""
    yield f"### The worlds as they came out{heading}"
    yield ""
    yield (
        "*count prefers*: share of the questions where a style that the student doesn't know has the most Teacher "
        "sentences, and its mean number of them. *count and length*: rank correlation of the number of Teacher "
        "sentences with the length. *agrees with longest*: share of the questions where both pick the same."
    )
    yield ""
    yield (
        "| world | seed | teacher, styles forced | student T=1.0 | student, styles forced | Teacher sentences | "
        "count prefers | fit | count and length | agrees with longest |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for world, seed, figures in found.prepared:
        styles = WORLDS[world].styles
        selected = _divergence(found.table, world, seed)
        yield (
            f"| {world} | {seed} | {_forced(figures['teacher'], styles)} | {_number(figures['student']['accuracy'])} "
            f"| {_forced(figures['student'], styles)} | {_number(figures['teacher_sentences'])} "
            f"| {_prefers(figures, WORLDS[world])} | {_fit(figures, WORLDS[world])} "
            f"| {_number(selected.get('score_length_correlation'))} | {_number(selected.get('agreement_longest'))} |"
        )


def _fit(figures: dict[str, Any], world: World) -> str:
    """Whether the teacher is right as often as the world demands, as many are Teacher sentences, the count tells styles
    apart, and enough of the student's answers run on."""
    least, most = world.right
    right = min(figures["teacher"][f"forced.{style}"] for style in world.styles) >= least
    right = right and figures["teacher"].get("accuracy", 0.0) <= most
    least, most = world.told_apart
    told = least <= figures["teacher_sentences"] <= most
    over = world.least_over_cap == 0 or figures["student"]["over_cap"] >= world.least_over_cap
    apart = world.apart is None or _apart(figures, world.apart) >= world.least_apart
    return "yes" if right and apart and told and over else "no"


def _apart(figures: dict[str, Any], styles: tuple[str, str]) -> float:
    """How many more Teacher sentences the responses of one style have than those of another."""
    one, two = (float(figures["counts"][style]["sentences"]) for style in styles)
    return one - two


def _prefers(figures: dict[str, Any], world: World) -> str:
    """Share of the questions where a new style has the most Teacher sentences, and its mean number of them."""
    counts = figures.get("counts")
    if counts is None:
        return ""
    new = (style for style in world.styles if style not in world.known and style in counts)
    return ", ".join(f"{name} {counts[name]['picked']:.2f} ({counts[name]['sentences']:.1f})" for name in new)


def _divergence(table: pl.DataFrame, world: str, seed: int) -> dict[str, float]:
    """What selection by divergence did in the world's pool, from the first cell that ran it."""
    rows = table.filter(
        (pl.col("world") == world)
        & (pl.col("seed") == seed)
        & (pl.col("arm") == "divergence")
        & pl.col("measure").str.starts_with("select.high.")
    )
    return {
        measure.removeprefix("select.high."): value
        for measure, value in rows.select("measure", "value").iter_rows()
    }


def _forced(figures: dict[str, float], styles: Sequence[str]) -> str:
    return " ".join(f"{style} {figures[f'forced.{style}']:.2f}" for style in styles)


def _table(rows: pl.DataFrame) -> Iterator[str]:
    yield "| arm | budget | seeds | thousand tokens | " + " | ".join(_MEASURES.values()) + " |"
    yield "|---|---|---|---|" + "---|" * len(_MEASURES)
    known = [arm.name for arm in ARMS]
    retired = sorted(set(rows["arm"]) - {*known, "teacher", "before"})
    order = [("teacher", "0"), ("before", "0")] + [
        (arm, budget) for arm in known + retired for budget in _BUDGETS
    ]
    for arm, budget in order:
        cell = rows.filter((pl.col("arm") == arm) & (pl.col("budget") == budget))
        if not cell.height:
            continue
        values = [mean_and_error(cell.filter(pl.col("measure") == measure)["value"]) for measure in _MEASURES]
        tokens = cell.filter(pl.col("measure") == "tokens")["value"].mean()
        shown = f"{tokens / 1000:.0f}" if isinstance(tokens, float) else ""
        yield f"| {arm} | {budget} | {cell['seed'].n_unique()} | {shown} | " + " | ".join(values) + " |"


def _number(value: float | None, form: str = ".3f") -> str:
    return "" if value is None else format(value, form)
