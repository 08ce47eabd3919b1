"""The summary at the end of a run: a table on a terminal, aligned plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dasd.base.printable import echo, printable
from dasd.results.report.data import ReportData
from dasd.results.report.tables import TextTable, headline_tables

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["as_report", "show_summary", "summary_table", "summary_text"]

NARROW_SPACE = "\u202f"

Report = ReportData | Mapping[str, Any]


def as_report(report: Report) -> ReportData:
    """``report``, or what ``Run.report()`` returns, as ReportData. Raises pydantic.ValidationError."""
    return report if isinstance(report, ReportData) else ReportData.model_validate(report)


def summary_table(report: Report) -> Table:
    """The headline table of the first benchmark, for rich."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    data = as_report(report)
    found = headline_tables(data)
    text = found[0] if found else TextTable("Checkpoints", ("model",), ())
    table = Table(
        title=f"{data.run.name}: {text.caption.lower()}",
        caption=text.note,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
    )
    for index, head in enumerate(text.head):
        table.add_column(head, justify="left" if index == 0 else "right", no_wrap=index == 0)
    for index, row in enumerate(text.rows):
        style = "dim" if index in text.reference else "bold" if _is_last(text, index) else None
        table.add_row(*(Text(printable(cell)) for cell in row), style=style)
    return table


def summary_text(report: Report) -> str:
    """The same for a log: every headline table with aligned columns, then the warnings."""
    data = as_report(report)
    blocks = [_aligned(table) for table in headline_tables(data)]
    blocks += [f"warning: {warning}" for warning in data.warnings]
    return "\n\n".join(blocks).replace(NARROW_SPACE, " ")


def show_summary(report: Report, console: Console) -> None:
    """Print the summary and the warnings to ``console``: a rich table on a terminal, else plain lines."""
    from rich.text import Text

    data = as_report(report)
    if not console.is_terminal:
        echo(summary_text(data), file=console.file)
        return
    if data.checkpoints:
        console.print(summary_table(data))
    for warning in data.warnings:
        console.print(Text(printable(f"warning: {warning}"), style="yellow"), soft_wrap=True)


def _is_last(table: TextTable, index: int) -> bool:
    students = [row for row in range(len(table.rows)) if row not in table.reference]
    return len(students) > 1 and index == students[-1]


def _aligned(table: TextTable) -> str:
    rows = [table.head, *table.rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.head))]
    lines = [table.caption]
    for row in rows:
        cells = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    lines.append(f"  {table.note}")
    return "\n".join(lines)
