"""Files of results: whole, the same again, as others read them; figures; the documentation of their keys."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from tests.result_rows import rows, written
from tests.stage_run import run_recipe

from dasd import results
from dasd.errors import InputError
from dasd.results.score_figures import comparison_figure, scores_figure
from dasd.store import Run

T = True


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with the evaluations ``before`` and ``low``, 6 questions, 2 attempts each."""
    return run_recipe(tmp_path_factory.mktemp("results") / "run", until="evaluate-low")


# -- files -------------------------------------------------------------------------------------------


def write(run: Run, directory: Path) -> None:
    evaluations = results.read(run)
    document = results.scores_document(evaluations, results.scores(evaluations), None, 0)
    results.write_scores(directory, evaluations, document)


def contents(directory: Path) -> dict[str, bytes]:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def test_files_are_written_whole_and_again_the_same(run: Run, tmp_path: Path) -> None:
    write(run, tmp_path / "out")
    first = contents(tmp_path / "out")
    write(run, tmp_path / "out")
    assert contents(tmp_path / "out") == first
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    attempts = pl.read_parquet(tmp_path / "out" / "attempts.parquet")
    assert attempts.height == 24
    again = results.scores(tmp_path / "out" / "attempts.parquet")
    assert again.equals(results.scores(run))
    document = json.loads(first["scores.json"])
    assert document["scores"][0]["value"] == again["value"][0]
    assert document["checkpoints"][1]["checkpoint"] == "low"


def test_a_failed_write_leaves_what_was_there(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(run, tmp_path / "out")
    first = contents(tmp_path / "out")
    evaluations = results.read(run)
    with pytest.raises(ValueError, match="JSON compliant"):
        results.write_scores(tmp_path / "out", evaluations, {"bad": float("nan")})
    assert contents(tmp_path / "out") == first
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_foreign_files_are_not_replaced(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds mine\.txt"):
        write(run, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_directory_of_another_make_is_not_replaced(run: Run, tmp_path: Path) -> None:
    write(run, tmp_path / "out")
    (tmp_path / "out" / "demo__low").mkdir()
    with pytest.raises(InputError, match="holds demo__low"):
        write(run, tmp_path / "out")


def test_a_file_has_the_files_too(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.jsonl", rows({"q1": [T], "q2": [None]}, "x:y", text="t"), rows({"q1": [T]}, "x_y")
    )
    evaluations = results.read(path)
    document = results.scores_document(evaluations, results.scores(evaluations), None, 0)
    results.write_scores(tmp_path / "out", evaluations, document)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["attempts.parquet", "scores.json"]
    assert document["checkpoints"][0]["questions_without_grade"] == 1
    assert document["scores"][0]["standard_error"] is None  # one question with a grade


# -- figures -----------------------------------------------------------------------------------------


def test_figures_are_drawn(run: Run, tmp_path: Path) -> None:
    table = results.scores(run)
    scores_figure(table, tmp_path / "a.svg")
    drawn = (tmp_path / "a.svg").read_text()
    assert all(f">{word}</text>" in drawn for word in ("avg@2", "pass@2", "before", "low", "miniature"))
    assert "var(--" not in drawn and "#0a6ebd" in drawn
    scores_figure(table, tmp_path / "b.svg")
    assert (tmp_path / "b.svg").read_bytes() == (tmp_path / "a.svg").read_bytes()
    compared = results.compare(*results.read(run))
    comparison_figure(compared, tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    comparison_figure(compared, tmp_path / "c.svg")
    assert "low minus before" in (tmp_path / "c.svg").read_text()
    with pytest.raises(InputError, match=r"ends in \.svg or \.png"):
        scores_figure(table, tmp_path / "a.pdf")


# -- documentation -----------------------------------------------------------------------------------


def keys(value: object) -> set[str]:
    """All keys of a JSON value."""
    if isinstance(value, dict):
        return set(value) | {key for inner in value.values() for key in keys(inner)}
    return {key for inner in value for key in keys(inner)} if isinstance(value, list) else set()


def test_every_key_is_documented(run: Run) -> None:
    page = (Path(__file__).parents[3] / "docs" / "scores.md").read_text()
    evaluations = results.read(run)
    document = results.scores_document(evaluations, results.scores(evaluations), None, 0)
    document["checkpoints"][0]["ungraded"] = [{"reason": "timed out", "answers": 1}]
    compared = results.comparison_document(results.compare(*evaluations), 10, 0)
    missing = {key for key in keys(document) | keys(compared) if f"`{key}`" not in page}
    assert not missing, f"docs/scores.md doesn't tell of {missing}"
