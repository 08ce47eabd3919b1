"""What ``dasd inspect`` prints: in colour on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dasd.base.printable import printable
from dasd.results.report.inspect_page import facts, totals
from dasd.results.report.inspection import ListedSample, Sample
from dasd.results.report.response import SentenceView

__all__ = ["listing_lines", "listing_table", "plain_lines", "show_coloured"]

STYLES = {"teacher": "blue", "student": "red", "common": "", "shared": "green", "boosted": "magenta"}
"""Colours of the kinds on a terminal."""


def _one_line(text: str, width: int) -> str:
    words = " ".join(text.split())
    return words if len(words) <= width else words[: width - 1] + "…"


def _number(value: float | None, form: str = ".2f") -> str:
    return "-" if value is None else format(value, form)


def _yes_no(value: bool | None) -> str:
    return "-" if value is None else "yes" if value else "no"


HEAD = ("sample", "stage", "question", "cand", "tokens", "T", "S", "C", "selected", "correct", "dropped by")


def _cells(row: ListedSample, width: int) -> tuple[str, ...]:
    return (
        row.sample_id[:12],
        row.stage,
        _one_line(row.question or row.question_id, width),
        str(row.candidate),
        str(row.tokens),
        *(_number(number, "d") for number in (row.teacher, row.student, row.common)),
        _yes_no(row.selected),
        _yes_no(row.correct),
        row.dropped_by or "-",
    )


def listing_table(rows: Sequence[ListedSample]) -> Table:
    """The list for a terminal; selected samples are bold."""
    table = Table(box=box.SIMPLE_HEAD)
    for index, head in enumerate(HEAD):
        table.add_column(head, justify="right" if 3 <= index <= 7 else "left", no_wrap=index < 3)
    for row in rows:
        table.add_row(
            *(Text(printable(cell)) for cell in _cells(row, 48)), style="bold" if row.selected else None
        )
    return table


def listing_lines(rows: Sequence[ListedSample]) -> list[str]:
    """Columns apart by tabs: for ``cut``, ``sort`` and ``awk``."""
    return ["\t".join(HEAD), *("\t".join(_cells(row, 60)) for row in rows)]


def _head_lines(sample: Sample) -> list[str]:
    lines = [f"{sample.stage}, question {sample.question_id}, candidate {sample.candidate}"]
    lines += [f"{name}: {value}" for name, value in facts(sample)]
    for turn in sample.turns:
        lines += ["", f"[{turn.role}]", turn.content]
    return [*lines, "", "[response]"]


def _verdict_lines(sample: Sample) -> list[str]:
    lines = [""]
    if sample.sentences:
        lines.append(f"totals: {totals(sample)}")
    else:
        lines.append("no sentences with probabilities: it was not scored under both models")
    for verdict in sample.verdicts:
        words = ": ".join(part for part in (verdict.reason, verdict.detail) if part)
        outcome = "kept" if verdict.kept else "dropped"
        lines.append(f"{verdict.stage}: {outcome}" + (f", {words}" if words else ""))
    return lines


def _figures(view: SentenceView, third: bool) -> list[str]:
    figures = [_number(view.p_teacher), _number(view.p_student), _number(view.delta, "+.2f")]
    return [*figures, _number(view.p_distilled)] if third else figures


def _columns(third: bool) -> list[str]:
    return ["p_teacher", "p_student", "delta", *(["p_distilled"] if third else [])]


def plain_lines(sample: Sample) -> list[str]:
    """One sample without colour: a sentence a line, its kind as a letter."""
    lines = _head_lines(sample)
    if sample.sentences:
        lines.append("  ".join(["   #", "kind", *_columns(sample.third), "sentence"]))
        for view in sample.sentences:
            figures = [
                figure.rjust(len(name))
                for figure, name in zip(_figures(view, sample.third), _columns(sample.third), strict=True)
            ]
            text = view.text.strip().replace("\n", "\\n")
            lines.append("  ".join([f"{view.number:4d}", f"{view.letter:4s}", *figures, text]))
    else:
        lines.append(sample.text)
    return lines + _verdict_lines(sample)


def show_coloured(console: Console, sample: Sample) -> None:
    """Print one sample with its sentences in the colours of their kinds."""
    for line in _head_lines(sample):
        console.print(Text(printable(line), style="bold" if line.startswith("[") else ""), soft_wrap=True)
    if sample.sentences:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in ("#", "kind", *_columns(sample.third)):
            table.add_column(name, justify="left" if name == "kind" else "right", no_wrap=True)
        table.add_column("sentence", overflow="fold")
        for view in sample.sentences:
            style = STYLES.get(view.kind, "")
            table.add_row(
                Text(str(view.number)),
                Text(view.kind, style=style),
                *(Text(figure) for figure in _figures(view, sample.third)),
                Text(printable(view.text).strip(), style=style),
            )
        console.print(table)
    else:
        console.print(Text(printable(sample.text)), soft_wrap=True)
    for line in _verdict_lines(sample):
        console.print(Text(printable(line)), soft_wrap=True)
