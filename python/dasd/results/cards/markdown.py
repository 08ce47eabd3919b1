"""Pieces of Markdown that cards are made of; each ends with an empty line, or is nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dasd.results.report.tables import TextTable

__all__ = ["bullets", "fenced", "plain_words", "table", "text_table"]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; no rows: nothing."""
    body = [_row(row) for row in rows]
    return "\n".join([_row(head), "|" + "---|" * len(head), *body, "\n"]) if body else ""


def text_table(found: TextTable) -> str:
    """A table of the report with its caption and its note."""
    if not found.rows:
        return ""
    rows = [
        [plain_words(cell) for cell in row] for row in found.rows
    ]  # a filter's reasons are a plugin's words
    return (
        f"**{plain_words(found.caption)}**\n\n"
        + table(found.head, rows)
        + (f"{found.note}\n\n" if found.note else "")
    )


def plain_words(text: str) -> str:
    """Words of data, such as a domain, as Markdown that shows them: no markup, no HTML, no cell of their own."""
    return "".join(f"&#{ord(sign)};" if sign in _MARKUP else sign for sign in " ".join(text.split()))


_MARKUP = frozenset("<&[`|\\")


def fenced(text: str, language: str) -> str:
    """A block of code, whatever strokes the code has in it."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n" + text.rstrip("\n") + f"\n{fence}\n\n"


def bullets(items: Sequence[str]) -> str:
    """A list; no items: nothing."""
    return "".join(f"- {item}\n" for item in items) + ("\n" if items else "")


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
