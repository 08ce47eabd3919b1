"""Files of results: whole, the same again, as others read them; figures; the documentation of their keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.result_rows import rows, value, written
from tests.stage_run import run_recipe

from dasd import results
from dasd.errors import InputError
from dasd.results.figures import comparison_figure, scores_figure
from dasd.store import Run

T = True


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with the evaluations ``before`` and ``low``, 6 questions, 2 attempts each."""
    return run_recipe(tmp_path_factory.mktemp("results") / "run", until="evaluate-low")


# -- files -------------------------------------------------------------------------------------------


def write(run: Run, directory: Path) -> None:
    evaluations = results.read(run)
    table = results.scores(evaluations)
    results.write_scores(directory, evaluations, table, results.scores_document(evaluations, table, None, 0))


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
        results.write_scores(tmp_path / "out", evaluations, results.scores(run), {"bad": float("nan")})
    assert contents(tmp_path / "out") == first
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_foreign_files_are_not_replaced(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds mine\.txt"):
        write(run, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_names_too_long_for_a_file_are_cut_and_stay_apart(tmp_path: Path) -> None:
    parts = [rows({"q": [T]}, benchmark="ü" * 200 + end, checkpoint="c" * 300 + end) for end in "ab"]
    evaluations = results.read(written(tmp_path / "rows.jsonl", *parts))
    table = results.scores(evaluations)
    document = results.scores_document(evaluations, table, None, 0)
    results.write_scores(tmp_path / "out", evaluations, table, document)
    assert len(list((tmp_path / "out").glob("*/samples_*.jsonl"))) == 2


def lm_eval_results(directory: Path) -> dict[str, Any]:
    (path,) = directory.glob("results_*.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_files_in_the_manner_of_lm_evaluation_harness(run: Run, tmp_path: Path) -> None:
    write(run, tmp_path / "out")
    place = tmp_path / "out" / "scripted__low"
    found = lm_eval_results(place)
    table = results.scores(run, checkpoints=["low"])
    task = found["results"]["miniature"]
    assert (task["alias"], task["sample_len"]) == ("miniature", 6)
    assert task["acc,none"] == task["avg@2,none"] == value(table, "avg@2")
    assert task["acc_stderr,none"] == value(table, "avg@2", "standard_error")
    assert found["n-samples"] == {"miniature": {"original": 6, "effective": 6}}
    assert found["configs"]["miniature"]["repeats"] == 2
    assert found["configs"]["miniature"]["generation_kwargs"]["max_gen_toks"] == 400
    assert found["higher_is_better"]["miniature"]["truncation_rate"] is False
    assert found["model_name_sanitized"] == place.name
    time = run.stages()[-1].finished[:19].replace(":", "-")
    (samples,) = place.glob(f"samples_miniature_{time}.*.jsonl")
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    assert [line["doc_id"] for line in lines] == list(range(6))
    assert sum(line["acc"] for line in lines) / 6 == pytest.approx(task["acc,none"])
    for line in lines:
        assert len(line["resps"][0]) == len(line["filtered_resps"][0]) == 2
        assert line["target"] == line["doc"]["answer"]
        assert json.loads(line["arguments"]["gen_args_0"]["arg_0"]) == line["doc"]["messages"]


def test_lm_evaluation_harness_reads_them(run: Run, tmp_path: Path) -> None:
    utils = pytest.importorskip("lm_eval.utils")
    write(run, tmp_path / "out")
    for place in (tmp_path / "out" / "scripted__before", tmp_path / "out" / "scripted__low"):
        found = lm_eval_results(place)
        shown = utils.make_table(found)
        assert f"{found['results']['miniature']['acc,none']:.4f}" in shown
        assert utils.sanitize_model_name(found["model_name"]) == place.name
        (samples,) = place.glob("samples_*")
        assert utils.get_file_task_name(samples.name) == "miniature"


def test_a_file_has_the_files_too(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.jsonl", rows({"q1": [T], "q2": [None]}, "x:y", text="t"), rows({"q1": [T]}, "x_y")
    )
    evaluations = results.read(path)
    table = results.scores(evaluations)
    document = results.scores_document(evaluations, table, None, 0)
    results.write_scores(tmp_path / "out", evaluations, table, document)
    names = sorted(path.name.split("_20")[0] for path in (tmp_path / "out" / "a__a").iterdir())
    assert names == ["results", "samples_x_y", "samples_x_y-2"]
    found = lm_eval_results(tmp_path / "out" / "a__a")
    assert found["results"]["x:y"]["acc_stderr,none"] == "N/A"  # one question with a grade
    assert document["checkpoints"][0]["questions_without_grade"] == 1


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
