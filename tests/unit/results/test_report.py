"""The report stage over a whole run: page, numbers, figures, what is missing."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import polars as pl
import pytest
from markupsafe import escape
from tests import report_run as made

from dasd.results.report import series
from dasd.results.report.answers import answer_id
from dasd.results.report.data import ReportData
from dasd.results.report.distilled import kind_of
from dasd.store import Run


@pytest.fixture(scope="module")
def drawing_settings() -> dict[str, object]:
    """Matplotlib's, before any report is made."""
    return dict(matplotlib.rcParams)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, drawing_settings: dict[str, object]) -> Run:
    return made.make_run(tmp_path_factory.mktemp("report") / "run", answers=True)


@pytest.fixture(scope="module")
def page(run: Run) -> str:
    return run.report_path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def data(run: Run) -> ReportData:
    return ReportData.model_validate(run.report())


class Page(HTMLParser):
    """What the tests look at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "path", "use", "rect", "img", "br", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()


def test_the_page_needs_nothing_else(page: str) -> None:
    parsed = Page(page)
    assert "://" not in page
    for tag, attributes in parsed.tags:
        assert tag not in ("script", "link", "img", "iframe", "object")
        for name in ("src", "href", "xlink:href", "action", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith("#"), (tag, name, value)
    assert not re.search(r"@import|url\((?!#)", page)
    assert parsed.open == []


def test_ids_are_unique_and_links_lead_somewhere(page: str) -> None:
    tags = Page(page).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in tags:
        target = attributes.get("href")
        assert target is None or target.removeprefix("#") in ids


def test_figures_are_read_out_and_state_their_n(page: str, data: ReportData) -> None:
    assert [note.figure for note in data.figures if note.shown] == [
        "checkpoints",
        "density",
        "density-selected",
        "positions",
        "response",
        "positions-distilled",
        "answers",
        "positions-answers",
        "cut-off",
        "losses",
    ]
    figures = re.findall(r"<figure.*?</figure>", page, flags=re.DOTALL)
    assert len(figures) == 10
    for figure in figures:
        assert re.search(r'<svg role="img" aria-label="[^"]{20,}" viewBox=', figure)
        assert re.search(r"<figcaption>.*n = \d", figure, flags=re.DOTALL)


def test_random_responses_are_drawn_from_the_questions_that_were_selected_from(run: Run) -> None:
    found = series.selected_and_random(run, ["low", "high"], 1000, run.record.seed)
    groups = dict(found.group_by("stage", "group"))
    kept = [run.frame("verdicts", f"select-{n}").filter("kept").collect().height for n in ("low", "high")]
    sizes = [[groups[(n, g)].height for n in ("low", "high")] for g in ("selected", "random")]
    assert sizes == [kept, kept]
    assert found["p"].is_between(0, 1).all()
    assert sorted(groups[("low", "random")]["p"]) != sorted(groups[("low", "selected")]["p"])
    few = series.selected_and_random(run, ["low"], 3, run.record.seed)
    assert few.group_by("group").len()["len"].to_list() == [3, 3]
    assert few.equals(series.selected_and_random(run, ["low"], 3, run.record.seed))


def test_figures_take_their_colours_from_the_page(page: str) -> None:
    """So that they are legible in dark: no colour of matplotlib's own is left in them."""
    for svg in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL):
        assert not re.search(r"(?<!url\()#[0-9a-fA-F]{6}\b", svg)
        for variable in re.findall(r"var\((--[a-z0-9-]+)\)", svg):
            assert len(re.findall(re.escape(variable) + ":", page)) == 2, variable
    assert "prefers-color-scheme: dark" in page


def test_words_of_users_and_models_are_escaped(tmp_path: Path) -> None:
    """Whichever response is the example: every question here holds markup, every response does."""
    run = made.make_run(tmp_path / "run", mark_all=True)
    page = run.report_path.read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#39;question&#39;)&lt;/script&gt;" in page
    assert "<b>it</b>" not in page
    assert "&lt;b&gt;it&lt;/b&gt;" in page


def test_tables_hold_the_measured_figures(page: str) -> None:
    found = re.findall(r"<tr.*?</tr>", page, flags=re.DOTALL)
    rows = [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in found]
    assert "before training 20.0 ± 3.1 40.0 ± 2.5 30.0 ± 2.0 60.0 ± 1.9" in rows
    assert "after mixed 80.0 ± 3.1 73.0 ± 2.5 3.0 ± 2.0 9.0 ± 1.9" in rows
    assert "teacher (reference) 90.0 ± 5.0 33.0 ± 1.5 – 0" in rows
    assert "its own tokenization of the same text" in page
    assert any(row.startswith("mixed 30 8 6 (−2) 30 ") for row in rows), rows


def test_numbers_agree_with_the_frames(run: Run, data: ReportData) -> None:
    assert [item.name for item in data.checkpoints] == ["before", "low", "high", "mixed", "teacher"]
    low = data.flow[0]
    verdicts = run.frame("verdicts", "filter-low").collect()
    assert low.sampled == run.frame("samples", "sample-low").collect().height
    assert low.after_filter == verdicts["kept"].sum()
    assert sum(low.dropped_by_filter.values()) + low.after_filter == low.sampled
    assert set(low.dropped_by_filter) == {"length", "repetition"}
    assert low.after_dedup is not None and low.after_dedup < low.after_filter
    assert low.selected == data.selections[0].selected
    assert (low.trained_rows, low.trained_tokens) == (25, 500)
    mixed = data.flow[2]
    written = run.frame("samples", "mix-mixed").collect()
    assert mixed.sampled == written.filter(pl.col("prefix_end") == 0).height == mixed.questions
    assert mixed.continued == written.filter(pl.col("prefix_end") > 0).height > 0
    assert set(mixed.dropped_by_filter) == {"answer"}
    assert mixed.after_filter == mixed.continued - mixed.dropped_by_filter["answer"]
    sentences = run.frame("sentences", "select-low").collect()
    share = (sentences["kind"] == "teacher").mean()
    assert data.selections[0].teacher_share == pytest.approx(share)
    assert data.selections[1].warnings == ("the score follows the length.",)
    assert data.warnings == ("Selection, high: the score follows the length.",)
    assert {item.stage for item in data.stages} == {item.name for item in run.stages()} - {"report"}
    assert [item.stage for item in data.trainings] == ["low", "high", "mixed"]
    assert data.trainings[0].steps == 900


def test_the_third_probability_is_appended(run: Run, data: ReportData) -> None:
    rows = run.frame("sentences", "report").collect()
    assert rows["p_distilled"].null_count() == 0
    chosen = run.frame("verdicts", "select-high").filter(pl.col("kept")).collect()["sample_id"]
    assert set(rows["sample_id"]) == set(chosen)
    every = run.frame("sentences", with_stage=True).collect()
    assert every.select("sample_id", "sentence").is_duplicated().sum() == 0
    written = pl.concat([run.frame("sentences", f"select-{name}").collect() for name in ("low", "high")])
    assert set(every["sample_id"]) == set(written["sample_id"])
    assert every.filter(pl.col("run_stage") == "report").drop("run_stage").equals(rows)
    assert data.distilled is not None
    assert (data.distilled.stage, data.distilled.checkpoint) == ("high", "mixed")
    assert sum(data.distilled.sentences.values()) == rows.height
    assert {"shared", "teacher", "student", "boosted"} <= set(data.distilled.sentences)


def test_the_students_own_answers_are_scored_by_three_models(run: Run, data: ReportData, page: str) -> None:
    rows = run.frame("answer_sentences").collect()
    eval_rows = run.frame("eval", "evaluate-mixed").collect()
    known = dict(eval_rows.select(answer_id(), "correct").iter_rows())
    assert {name: known[name] for name in rows["sample_id"]} == dict(
        rows.select("sample_id", "correct").iter_rows()
    )
    probabilities = ("p_teacher", "p_student", "p_distilled")
    assert rows.select(pl.col(probabilities).is_finite().all()).row(0) == (True, True, True)
    assert rows["kind"].equals(rows.select(kind=kind_of(0.1, 0.1))["kind"])
    assert {"shared", "teacher", "student", "boosted"} <= set(rows["kind"])
    assert not set(run.frame("sentences").collect()["sample_id"]) & set(known)
    own = data.own_answers
    assert own is not None and own.checkpoint == "mixed"
    right, wrong = own.answers
    # 50 right ones, of which 32 are drawn; 30 wrong ones, of which one is over the models' context.
    assert [(each.correct, each.responses, each.available) for each in own.answers] == [
        (True, 32, 50),
        (False, 29, 30),
    ]
    assert own.refused == 1
    refused = run.frame("refused", "report").collect()
    assert refused["reason"].to_list() == ["teacher: 5002 tokens exceed the context"]
    assert run.summary("report")["refused"] == 1
    for each in (right, wrong):
        of = rows.filter(pl.col("correct") == each.correct)
        assert sum(each.sentences.values()) == sum(part.sentences for part in each.parts) == of.height
        for part in each.parts:
            assert sum(part.shares.values()) == pytest.approx(1)
        weighted = sum(part.sentences * (part.mean_p_distilled or 0) for part in each.parts) / of.height
        assert weighted == pytest.approx(of["p_distilled"].cast(pl.Float64).mean())
    assert "32 of 50 right answers and 29 of 30 wrong answers" in page
    assert "Up to 32 right and 32 wrong answers of the student after mixed" in page


@pytest.mark.parametrize(
    ("teacher", "until", "why"),
    [
        ("recorded", "evaluate-low", "teacher 'recorded' (plugin dasd) gives no log-probabilities."),
        ("chat-only", "evaluate-low", "the teacher can't score them: the chat endpoint can't score a text."),
        ("scripted", "train-low", "there are no evaluation questions, so the student answered none."),
        ("scripted", "select-high", "no model was distilled."),
        ("scripted", "evaluate-low", "the student's evaluation holds no answer that was graded."),
    ],
)
def test_own_answers_that_cannot_be_scored_are_left_out_with_the_reason(
    tmp_path: Path, teacher: str, until: str, why: str
) -> None:
    run = made.make_run(tmp_path / "run", until=until, teacher=teacher, answers=teacher == "chat-only")
    data = ReportData.model_validate(run.report())
    assert data.own_answers is None
    notes = {note.figure: note for note in data.figures}
    assert notes["answers"].why_not == notes["positions-answers"].why_not == why
    assert not run.frame("answer_sentences").collect().height
    assert notes["positions"].shown


def test_what_has_no_data_is_left_out_and_says_so(tmp_path: Path) -> None:
    run = made.make_run(tmp_path / "run", until="dedup-low")
    data = ReportData.model_validate(run.report())
    assert [note.figure for note in data.figures if note.shown] == ["density"]
    page = run.report_path.read_text(encoding="utf-8")
    for note in data.figures:
        if not note.shown:
            assert note.why_not.endswith(".")
            assert f"<strong>{escape(note.title)}</strong> is left out: " in page
    assert data.distilled is None and data.checkpoints == () and data.selections == ()
    assert data.flow[0].after_dedup is not None and data.flow[0].selected is None
    assert data.flow[2].sampled is None
    assert "No checkpoint was evaluated" in page


def test_the_same_run_gives_the_same_figures(run: Run, page: str, tmp_path: Path) -> None:
    again = made.make_run(tmp_path / "run", answers=True).report_path.read_text(encoding="utf-8")
    figures = re.compile(r"<figure.*?</figure>", flags=re.DOTALL)
    assert figures.findall(again) == figures.findall(page)


def test_matplotlib_keeps_its_settings(drawing_settings: dict[str, object], run: Run) -> None:
    assert dict(matplotlib.rcParams) == drawing_settings
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []
