"""``dasd inspect`` over a whole run, in plain lines, colour, JSON and as a page."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result
from tests import report_run as made

from dasd.cli.inspect import inspect
from dasd.errors import InputError
from dasd.results.report.inspect_text import listing_table, show_coloured
from dasd.results.report.inspection import listing, sample
from dasd.store import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return made.make_run(tmp_path_factory.mktemp("inspect") / "run")


@pytest.fixture(scope="module")
def scored(run: Run) -> str:
    """A selected sample that the distilled model scored too."""
    return str(run.frame("sentences", "report").collect()["sample_id"][0])


def call(run: Run, *arguments: str) -> Result:
    return CliRunner().invoke(inspect, [str(run.directory), *arguments], catch_exceptions=True)


def unknown(rows: pl.DataFrame) -> pl.Series:
    return pl.Series([None] * rows.height, dtype=pl.Boolean)


def test_lists_samples_with_their_fate(run: Run) -> None:
    result = call(run, "--stage", "low", "--limit", "1000")
    assert result.exit_code == 0, result.output
    head, *lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert head[:2] == ["sample", "stage"]
    assert len(lines) == run.frame("samples", "sample-low").collect().height
    assert {line[1] for line in lines} == {"sample-low"}
    selected = [line for line in lines if line[head.index("selected")] == "yes"]
    assert len(selected) == run.frame("verdicts", "select-low").collect()["kept"].sum()
    dropped = [line for line in lines if line[head.index("dropped by")] == "filter-low: length"]
    assert dropped and all(line[head.index("T")] == "-" for line in dropped)


def test_counts_of_kinds_are_those_of_the_select_stage(run: Run) -> None:
    rows = json.loads(call(run, "--stage", "sample-high", "--limit", "1000", "--json").stdout)
    sentences = run.frame("sentences", "select-high").collect()
    for row in rows:
        own = sentences.filter(pl.col("sample_id") == row["sample_id"])["kind"].to_list()
        if own:
            assert [row[kind] for kind in ("teacher", "student", "common")] == [
                own.count(kind) for kind in ("teacher", "student", "common")
            ]
        else:
            assert row["teacher"] is None


def test_answers_are_graded_by_the_verifiers_of_their_questions(run: Run) -> None:
    rows = json.loads(call(run, "--stage", "sample-high", "--limit", "1000", "--json").stdout)
    answers = dict(run.frame("questions").select("question_id", "answer").collect().iter_rows())
    texts = dict(run.frame("samples", "sample-high").select("sample_id", "text").collect().iter_rows())
    for row in rows:
        assert row["correct"] == texts[row["sample_id"]].endswith(f" {answers[row['question_id']]}.")
    assert {row["correct"] for row in rows} == {True, False}
    shown = call(run, rows[0]["sample_id"]).stdout
    assert f"answer: {'right' if rows[0]['correct'] else 'wrong'}; wanted " in shown


def test_a_verifier_that_is_not_there_leaves_answers_ungraded(tmp_path: Path) -> None:
    run = made.make_run(tmp_path / "run", until="sample-low", verifier="of-a-plugin")
    result = call(run, "--limit", "2", "--json")
    assert result.exit_code == 0
    assert [row["correct"] for row in json.loads(result.stdout)] == [None, None]
    assert "warning: answers are not graded" in result.stderr


def test_a_limit_is_said_on_stderr(run: Run) -> None:
    result = call(run, "--limit", "3")
    assert len(result.stdout.splitlines()) == 4
    assert "3 of " in result.stderr
    assert len(json.loads(call(run, "--limit", "3", "--json").stdout)) == 3


def test_shows_one_sample_sentence_by_sentence(run: Run, scored: str) -> None:
    result = call(run, scored[:10])
    assert result.exit_code == 0, result.output
    views = sample(run, scored, unknown).sentences
    lines = result.stdout.splitlines()
    start = next(index for index, line in enumerate(lines) if "p_teacher" in line)
    assert "p_distilled" in lines[start]
    for view, line in zip(views, lines[start + 1 :], strict=False):
        number, letter, p_teacher, p_student, delta, p_distilled, *_ = line.split()
        assert (int(number), letter) == (view.number, view.letter)
        assert float(p_teacher) == pytest.approx(view.p_teacher, abs=0.006)
        assert float(p_student) == pytest.approx(view.p_student, abs=0.006)
        assert float(delta) == pytest.approx(view.delta, abs=0.006)
        assert float(p_distilled) == pytest.approx(view.p_distilled, abs=0.006)
    assert any(line.startswith(f"totals: {len(views)} sentences") for line in lines)
    assert "select-high: kept" in lines
    assert "[user]" in lines


def test_a_dropped_sample_says_why(run: Run) -> None:
    lost = run.frame("verdicts", "filter-low").filter(~pl.col("kept")).collect()["sample_id"][0]
    result = call(run, lost)
    assert "no sentences with probabilities" in result.stdout
    assert "filter-low: dropped, length: its reason in words" in result.stdout


def test_json_of_a_sample(run: Run, scored: str) -> None:
    found = json.loads(call(run, scored, "--json").stdout)
    assert found["sample_id"] == scored
    assert "".join(item["text"] for item in found["sentences"]) == found["text"]
    assert [item["stage"] for item in found["verdicts"]] == ["filter-high", "dedup-high", "select-high"]


def test_an_ambiguous_prefix_lists_what_it_could_be(run: Run) -> None:
    result = call(run, "")
    assert isinstance(result.exception, InputError)
    assert "several samples start with" in str(result.exception)
    shown = [line for line in str(result.exception).splitlines() if "question q" in line]
    assert len(shown) == 8


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["zz"], "no sample of"),
        (["--stage", "train-low"], "has samples; those that have: sample-low"),
    ],
)
def test_wrong_use(run: Run, arguments: list[str], words: str) -> None:
    result = call(run, *arguments)
    assert isinstance(result.exception, InputError)
    assert words in str(result.exception)


def test_not_a_run(tmp_path: Path) -> None:
    result = CliRunner().invoke(inspect, [str(tmp_path)])
    assert isinstance(result.exception, InputError)
    assert "not a run directory" in str(result.exception)


def test_page_of_a_sample(run: Run, scored: str, tmp_path: Path) -> None:
    page = tmp_path / "response.html"
    result = call(run, scored, "--html", str(page))
    assert result.exit_code == 0
    text = page.read_text(encoding="utf-8")
    assert "://" not in text and "<script" not in text
    assert "<b>it</b>" not in text and "&lt;b&gt;it&lt;/b&gt;" in text
    assert text.count('class="s ') >= len(sample(run, scored, unknown).sentences)
    assert call(run, "--html", str(page)).exit_code == 2


def test_colour_on_a_terminal(run: Run, scored: str) -> None:
    from io import StringIO

    from rich.console import Console

    out = StringIO()
    console = Console(file=out, force_terminal=True, width=140, color_system="standard")
    show_coloured(console, sample(run, scored, unknown))
    console.print(listing_table(listing(run, "low", 5, unknown)))
    assert "\x1b[34m" in out.getvalue()  # blue: Teacher sentences
    assert "p_student" in out.getvalue()


def test_a_reader_that_closes_the_pipe_ends_it_quietly(run: Run) -> None:
    code = "from dasd.cli.inspect import inspect; inspect()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(run.directory), "--limit", "1000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(60) == 0
    assert "Error" not in errors and "Traceback" not in errors


def test_help_has_an_example() -> None:
    result = CliRunner().invoke(inspect, ["--help"])
    assert result.exit_code == 0
    assert "dasd inspect runs/demo" in result.output
