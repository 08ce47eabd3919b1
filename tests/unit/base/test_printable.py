"""Nothing that a model, server, recipe or file name says reaches a terminal or a page as a control character."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console as RichConsole
from tests import report_run

from dasd.base.printable import echo, printable
from dasd.base.progress import Console
from dasd.cli.guard import run
from dasd.results.cards import model_card
from dasd.results.report.inspect_page import render_sample
from dasd.results.report.inspect_text import show_coloured
from dasd.results.report.inspection import listing, sample
from dasd.results.report.page import environment

HOSTILE = "a\x1b[31mb\0\x9b2J\u202e\r\u2028c\ud800"
SPELT = r"a\u001b[31mb\u0000\u009b2J\u202e\u000d\u2028c\ud800"


def test_control_characters_are_spelt_out_and_text_stays() -> None:
    assert printable(HOSTILE) == SPELT
    assert printable(SPELT) == SPELT
    kept = "é 你\u00a0\n\tx\r\n👩\u200d🔬 می\u200cخواهم"
    assert printable(kept) == kept
    assert json.loads(printable(json.dumps(HOSTILE, ensure_ascii=False))) == HOSTILE


def test_printing_to_any_encoding() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    echo(HOSTILE + "é", file=stream)
    assert raw.getvalue() == SPELT.encode() + b"\\xe9\n"


@pytest.mark.parametrize(
    "say",
    [
        lambda console: console.info(HOSTILE),
        lambda console: console.warn(HOSTILE),
        lambda console: console.table(HOSTILE, [HOSTILE], [[HOSTILE]]),
        lambda console: console.task(HOSTILE, 1).__enter__().advance(1, note=HOSTILE),
    ],
)
def test_messages(say: Callable[[Console], None], capsys: pytest.CaptureFixture[str]) -> None:
    say(Console(verbose=True))
    shown = capsys.readouterr().err
    assert r"\u001b[31mb" in shown
    assert printable(shown) == shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", HOSTILE.replace("\0", "").replace("\ud800", "\udc80")],
        ["inspect", "--limit", HOSTILE, "x"],
        [HOSTILE],
        ["pipeline", "demo", "-o", f"sampling.{HOSTILE}=1"],
    ],
)
def test_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    shown = capsys.readouterr().err
    assert "[31mb" in shown
    assert printable(shown) == shown


def test_pages() -> None:
    page = environment().from_string("{{ text }}|{{ ('<b>' ~ text ~ '</b>') | safe }}")
    assert page.render(text=f"<{HOSTILE}") == f"&lt;{SPELT}|<b><{SPELT}</b>"


def test_a_hostile_sample_and_card(tmp_path: Path) -> None:
    def grade(rows: pl.DataFrame) -> pl.Series:
        return rows["text"].is_null()

    made = report_run.make_run(tmp_path / "run", until="evaluate-low")
    found = sample(made, listing(made, None, 1, grade)[0].sample_id, grade)
    turns = tuple(turn.model_copy(update={"content": HOSTILE}) for turn in found.turns)
    sentences = tuple(replace(view, text=HOSTILE) for view in found.sentences)
    hostile = found.model_copy(update={"turns": turns, "text": HOSTILE, "sentences": sentences})
    page = render_sample(hostile, "made-up")
    assert SPELT in page and printable(page) == page
    shown = io.StringIO()
    show_coloured(RichConsole(file=shown, width=200), hostile)
    assert SPELT in shown.getvalue() and printable(shown.getvalue()) == shown.getvalue()

    card = model_card(made, name=HOSTILE).readme
    assert printable(card) == card
