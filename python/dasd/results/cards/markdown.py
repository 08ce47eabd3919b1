"""Pieces of Markdown that both cards are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dasd.results.report.tables import TextTable

__all__ = ["bullets", "fenced", "plain_words", "table", "text_table"]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table; no rows: none."""
    body = [_row(row) for row in rows]
    return [_row(head), "|" + "---|" * len(head), *body, ""] if body else []


def text_table(found: TextTable | None) -> list[str]:
    """A table of the report with its caption and its note; none for None."""
    if found is None or not found.rows:
        return []
    note = [found.note, ""] if found.note else []
    return [f"**{found.caption}**", "", *table(found.head, found.rows), *note]


def plain_words(text: str) -> str:
    """Words of data, such as a domain, as Markdown that shows them: no markup, no HTML, no cell of their own."""
    return "".join(f"&#{ord(sign)};" if sign in _MARKUP else sign for sign in " ".join(text.split()))


_MARKUP = frozenset("<&[`|\\")


def fenced(text: str, language: str = "") -> list[str]:
    """A block of code, whatever strokes the code has in it."""
    fence = "```"
    while fence in text:
        fence += "`"
    return [f"{fence}{language}", *text.rstrip("\n").split("\n"), fence, ""]


def bullets(items: Iterable[str]) -> list[str]:
    """Lines of a list; no items: none."""
    found = [f"- {item}" for item in items]
    return [*found, ""] if found else []


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
