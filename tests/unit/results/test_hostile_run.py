"""A run whose every text is markup, script or escape sequence: what people open of it shows these as text."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from xml.dom import minidom

import polars as pl
import pytest
from tests import report_run as made
from tests.command import dasd
from tests.result_rows import rows, written

from dasd.base.printable import printable
from dasd.base.schemas import Schema
from dasd.results.cards import model_card
from dasd.results.report.inspect_page import render_sample
from dasd.results.report.inspection import listing, sample


class _Elements(HTMLParser):
    """Names of elements, and attributes that could run or load something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.active: list[tuple[str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.active += [
            (name, value)
            for name, value in attrs
            if name.startswith("on")
            or name in ("src", "srcdoc", "action", "formaction", "data")
            or (name.endswith("href") and not (value or "").startswith("#"))
        ]


HOSTILE = (
    "</title></style></script></textarea>--><script>run()</script><img src=x onerror=run()> \"'<svg onload=run()>"
    "<a href='javascript:run()'>x</a>[x](javascript:run())|`$x^{$ \u202e\x1b[31m\x00"
)


def test_every_text_of_a_run_stays_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Domains, models, engines, reasons, questions and responses that are markup: in the report, a sample, cards."""
    plain, answer = made.frame, made.response

    def hostile(schema: Schema, rows: Sequence[Sequence[object]]) -> pl.DataFrame:
        found = plain(schema, rows)
        names = ("domain", "source", "model", "model_revision", "engine", "engine_version", "detail", "group")
        found = found.with_columns(
            pl.lit(HOSTILE).alias(name) for name in names[:-1] if name in found.columns
        )
        if "reason" in found.columns:
            found = found.with_columns(
                reason=pl.when(pl.col("reason") != "").then(pl.lit(HOSTILE)).otherwise(pl.lit(""))
            )
        if "group" in found.columns:
            found = found.with_columns(group=pl.col("group").replace("sums", HOSTILE))
        return found

    monkeypatch.setattr(made, "frame", hostile)
    monkeypatch.setattr(made, "QUESTIONS_MADE", 12)
    monkeypatch.setattr(made, "SCRIPT", HOSTILE)
    monkeypatch.setattr(made, "response", lambda *given: answer(*given).replace("Step 1", f"Step {HOSTILE}"))
    run = made.make_run(tmp_path / "run", until="evaluate-low", mark_all=True)
    page = run.report_path.read_text(encoding="utf-8")
    first = listing(run, None, 1, lambda rows: rows["text"].is_null())[0].sample_id
    shown = render_sample(sample(run, first, lambda rows: rows["text"].is_null()), "made-up")
    for text in (page, shown):
        found = _Elements(text)
        assert "run()" in text and printable(text) == text
        assert not found.active and not found.names & {"script", "img", "iframe", "object"}
    prose = model_card(run).readme.split("\n---\n", 1)[1]
    card = re.sub(r"(```+).*?\n\1", "", prose, flags=re.DOTALL)
    assert "run()" in card and not re.search(r"<(script|img|svg|a)|(?<!\\)\[x\]", card)


def test_scores_and_figures_of_hostile_names(tmp_path: Path) -> None:
    """A benchmark's name with a lone dollar sign was taken for a formula; the figure is XML all the same."""
    right = {HOSTILE: [True, False], "q2": [False, True], "q3": [True, True]}
    first = written(tmp_path / "a.jsonl", rows(right, HOSTILE, domain=HOSTILE), rows(right, "x" * 20_000))
    second = written(tmp_path / "b.jsonl", rows({**right, "q3": [False, True]}, HOSTILE))
    for name, arguments in (
        ("a.svg", [first]),
        ("ab.svg", [first, second, "--compare", "a", "b"]),
    ):
        done = dasd(
            "scores", *arguments, "--domain" if name == "a.svg" else "--shared", "--figure", tmp_path / name
        )
        assert done.returncode == 0, done.stderr
        assert "run()" in done.stdout and printable(done.stdout) == done.stdout
        drawn = minidom.parse(str(tmp_path / name))
        assert not drawn.getElementsByTagName("script") and not drawn.getElementsByTagName("a")
        assert len(drawn.toxml()) < 100_000
        assert not _Elements((tmp_path / name).read_text()).active
    told = dasd("scores", first, "--json").stdout
    assert HOSTILE in {row["benchmark"] for row in json.loads(told)["scores"]} and printable(told) == told
