"""Results of runs and files: known values, bootstrap, comparisons, pairing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner
from tests.report_run import RECIPE, WrittenStage, registry
from tests.result_rows import rows, value, written
from tests.stage_run import run_recipe

from dasd import results
from dasd.base.progress import Console
from dasd.base.records import RowsSetAside
from dasd.base.schemas import EVAL, QUESTIONS, check
from dasd.cli.scores import scores as scores_command
from dasd.errors import InputError
from dasd.pipeline.runner import Pipeline
from dasd.plugins.recipe import Recipe
from dasd.store import Run

T, F = True, False


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with the evaluations ``before`` and ``low``, 6 questions, 2 attempts each."""
    return run_recipe(tmp_path_factory.mktemp("results") / "run", until="evaluate-low")


def with_questions(evaluation: results.Evaluation, texts: Mapping[str, str]) -> results.Evaluation:
    asked = [
        (name, [{"role": "user", "content": text}], "d", "7", "exact", "b", "eval")
        for name, text in texts.items()
    ]
    frame = pl.DataFrame(asked, schema=dict(QUESTIONS.columns), orient="row")
    return results.Evaluation(
        evaluation.checkpoint, evaluation.attempts, frame, evaluation.ungraded, evaluation.origin
    )


# -- scores ------------------------------------------------------------------------------------------


def test_known_values_of_a_file(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.jsonl", rows({"q1": [T, T, F, F], "q2": [T, F, F, F], "q3": [F] * 4}))
    table = check(results.scores(path, ks=[1, 2, 4]), results.RESULTS, "scores")
    assert table["checkpoint"].unique().to_list() == ["mine"]
    assert value(table, "avg@4") == pytest.approx(0.25)
    assert value(table, "avg@4", "standard_error") == pytest.approx(0.25 / 3**0.5)
    # Wilson's with 0.25 * 0.75 / (0.25^2 / 3) = 9 observations and t(2) = 4.302653 at 95 %
    half = 4.302653 * (0.1875 / 9 + (4.302653 / 18) ** 2) ** 0.5
    high = (0.25 + 4.302653**2 / 18 + half) / (1 + 4.302653**2 / 9)
    assert value(table, "avg@4", "high") == pytest.approx(high, abs=1e-5)
    assert value(table, "pass@2") == pytest.approx((5 / 6 + 1 / 2) / 3)
    assert value(table, "pass@4") == pytest.approx(2 / 3)
    assert value(table, "majority@4") == pytest.approx((1 / 2 + 0 + 0) / 3)
    assert value(table, "length_tokens") == pytest.approx(25)
    assert value(table, "truncation_rate") == 0
    assert (value(table, "avg@4", "questions"), value(table, "avg@4", "attempts")) == (3, 12)


def test_a_question_without_a_grade_counts_for_length_only(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", rows({"q1": [T], "q2": [None], "q3": [F]}))
    table = results.scores(path)
    assert value(table, "avg@1", "questions") == 2
    assert value(table, "length_tokens", "questions") == 3


def test_domains_have_their_own_rows(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.jsonl",
        rows({"q1": [T, T], "q2": [T, F]}, domain="sums"),
        rows({"q3": [F, F], "q4": [F, F]}, domain="roots"),
    )
    table = results.scores(path, domains=True).filter(pl.col("metric") == "avg@2")
    assert dict(table.select("domain", "value").iter_rows()) == {"all": 0.375, "roots": 0.0, "sums": 0.75}
    assert results.scores(path)["domain"].unique().to_list() == ["all"]


def test_bootstrap_replaces_the_intervals_alone(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", rows({f"q{n}": [n % 2 == 0, n % 3 == 0] for n in range(30)}))
    plain, drawn = results.scores(path), results.scores(path, draws=2000, seed=1)
    same = ["checkpoint", "benchmark", "metric", "value", "standard_error", "questions"]
    assert drawn.select(same).equals(plain.select(same))
    assert not drawn.select("low", "high").equals(plain.select("low", "high"))
    assert drawn.equals(results.scores(path, draws=2000, seed=1))
    assert not drawn.equals(results.scores(path, draws=2000, seed=2))
    for metric in ("avg@2", "pass@2", "majority@2"):
        error = value(plain, metric, "standard_error")
        assert value(drawn, metric, "high") - value(drawn, metric, "low") == pytest.approx(
            2 * 1.96 * error, rel=0.15
        )
    one = written(tmp_path / "one.jsonl", rows({"q": [T, F]}))
    assert results.scores(one, draws=10)["low"].null_count() == results.scores(one).height


def test_wrong_arguments_are_told(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", rows({"q1": [T, F]}), rows({"q1": [T]}, benchmark="c"))
    with pytest.raises(InputError, match="no benchmark has 3 attempts"):
        results.scores(path, ks=[3])
    assert "pass@2" in results.scores(path, ks=[2])["metric"]  # b has two, c has not
    with pytest.raises(InputError, match="no evaluation of benchmark 'bb'; did you mean 'b'"):
        results.scores(path, benchmarks=["bb"])
    with pytest.raises(InputError, match="at least 1 draw"):
        results.scores(path, draws=0)
    with pytest.raises(InputError, match="numbers from 1"):
        results.scores(path, ks=[0])


# -- reading -----------------------------------------------------------------------------------------


def test_a_run_is_read_as_its_stages_and_metrics_have_it(run: Run) -> None:
    found = results.read(run)
    assert [evaluation.checkpoint for evaluation in found] == ["before", "low"]
    for evaluation in found:
        check(evaluation.attempts, results.ATTEMPTS, "read")
        kept = run.frame("eval", f"evaluate-{evaluation.checkpoint}").collect()
        assert evaluation.attempts.select(list(EVAL.columns)).equals(kept)
        assert evaluation.questions is not None and evaluation.questions.height == 6
        assert evaluation.sampling("miniature").max_tokens == 400
        assert evaluation.sampling("miniature").temperature == 1.0
    table = results.scores(run.directory)
    metrics = run.frame("metrics").filter(pl.col("group") == "all").collect()
    for checkpoint in ("before", "low"):
        for metric, name in (("accuracy", "avg@2"), ("length_tokens", "length_tokens")):
            mine = table.filter((pl.col("checkpoint") == checkpoint) & (pl.col("metric") == name))
            theirs = metrics.filter(
                (pl.col("checkpoint") == checkpoint)
                & (pl.col("metric") == metric)
                & (pl.col("benchmark") == "miniature")
            )
            assert mine.select("value", "standard_error").row(0) == theirs.select(
                "value", "standard_error"
            ).row(0)


def test_questions_that_cannot_be_graded_and_answers_that_were_not(tmp_path: Path) -> None:
    asked = [
        (name, [{"role": "user", "content": name}], "d", answer, "exact", "b", "eval")
        for name, answer in (("q1", "7"), ("q2", "7"), ("q3", None))
    ]
    questions = pl.DataFrame(asked, schema=dict(QUESTIONS.columns), orient="row")
    answered = {"text": "t", "finish_reason": "length", "seconds": 0.0}
    answers = pl.DataFrame(rows({"q1": [T], "q2": [F], "q3": [F]}, **answered), schema=dict(EVAL.columns))
    stages = [
        WrittenStage("questions", "questions", (), {"questions": questions}),
        WrittenStage(
            "evaluate-before",
            "evaluate",
            ("questions",),
            {"eval": answers},
            {"ungraded.timed out": 1, "answers": 3},
        ),
    ]
    run = Pipeline(Recipe.load(RECIPE), registry(), stages, Console(quiet=True)).run(tmp_path / "run")
    (evaluation,) = results.read(run)
    assert evaluation.ungraded == (results.Ungraded("timed out", 1),)
    assert evaluation.attempts["correct"].to_list() == [True, False, None]
    table = results.scores(run)
    assert (value(table, "avg@1"), value(table, "avg@1", "questions")) == (0.5, 2)
    assert (value(table, "truncation_rate"), value(table, "truncation_rate", "questions")) == (1, 3)
    done = CliRunner().invoke(scores_command, [str(run.directory)], catch_exceptions=False)
    assert "before: 1 questions have no answer or no verifier" in done.stderr
    assert "before: grading 1 answers timed out; they count as wrong" in done.stderr


def test_bad_rows_of_a_file_are_set_aside(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", rows({"q1": [T], "q2": [F], "q3": [F]}))
    path.write_text(path.read_text() + '{"benchmark": "b", "question_id": "q4", "attempt": -1}\nnonsense\n')
    with pytest.warns(RowsSetAside, match="2 rows set aside, the first is row 4 .attempt"):
        (evaluation,) = results.read(path)
    assert evaluation.attempts.height == 3
    (tmp_path / "other.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(InputError, match="wanted a run directory, or EVAL rows"):
        results.read(tmp_path / "other.jsonl")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(InputError, match="torn.parquet"):
        results.read(tmp_path / "torn.parquet")


# -- comparisons -------------------------------------------------------------------------------------


def test_a_comparison_has_known_values(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.jsonl",
        rows({"q1": [F, F], "q2": [T, F], "q3": [F, F]}, checkpoint="x"),
        rows({"q1": [T, T], "q2": [T, F], "q3": [T, F]}, checkpoint="y"),
    )
    compared = results.compare(*results.read(path))
    check(compared.rows, results.COMPARISONS, "compare")
    right, tokens = compared.rows.to_dicts()
    assert (right["first"], right["second"], right["difference"]) == pytest.approx((1 / 6, 4 / 6, 0.5))
    assert right["standard_error"] == pytest.approx(0.5 / 3**0.5)
    # Two questions differ, both upwards: of the four sign patterns two are as large.
    assert (right["p_value"], right["exact"], right["p_adjusted"]) == (0.5, True, 0.5)
    assert (right["higher"], right["lower"], right["questions"]) == (2, 0, 3)
    assert (tokens["difference"], tokens["p_value"]) == (0, 1)


def test_holm() -> None:
    assert results.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert results.holm([0.5, 0.9]) == [1.0, 1.0]
    assert results.holm([]) == []


def test_several_benchmarks_are_adjusted_each_value_by_itself(tmp_path: Path) -> None:
    everything = {f"q{n}": [F] for n in range(6)}, {f"q{n}": [T] for n in range(6)}
    path = written(
        tmp_path / "a.jsonl",
        *(rows(everything[0], name, checkpoint="x") for name in ("b", "c")),
        *(rows(everything[1], name, checkpoint="y") for name in ("b", "c")),
        rows({"q": [T]}, "d", checkpoint="y"),
    )
    compared = results.compare(*results.read(path))
    right = compared.rows.filter(pl.col("value") == "correct")
    assert right["p_value"].to_list() == pytest.approx([2 / 64] * 2)
    assert right["p_adjusted"].to_list() == pytest.approx([4 / 64] * 2)
    assert any("benchmark d: only a/y has it" in note for note in compared.notes)


def test_questions_that_differ_need_shared(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.jsonl",
        rows({"q1": [F], "q2": [T], "q3": [F]}, checkpoint="x"),
        rows({"q1": [T], "q2": [T], "q4": [F]}, checkpoint="y"),
    )
    pair = results.read(path)
    with pytest.raises(InputError, match=r"1 asked of a/x only \(e.g. q3\).*--shared compares the 2"):
        results.compare(*pair)
    right = results.compare(*pair, shared=True).rows.row(0, named=True)
    assert (right["questions"], right["left_out"], right["difference"]) == (2, 2, 0.5)


def test_the_same_id_with_another_text_is_another_question(tmp_path: Path) -> None:
    answered = {"q1": [F], "q2": [T]}
    path = written(tmp_path / "a.jsonl", rows(answered, checkpoint="x"), rows(answered, checkpoint="y"))
    one, two = results.read(path)
    one = with_questions(one, {"q1": "1 + 1?", "q2": "2 + 2?"})
    two = with_questions(two, {"q1": "1 + 1?", "q2": "3 + 3?"})
    with pytest.raises(InputError, match=r"1 with another text or expected answer \(e.g. q2\)"):
        results.compare(one, two)
    assert results.compare(one, two, shared=True).rows["questions"].to_list() == [1, 1]


def test_another_id_with_the_same_text_is_the_same_question(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.jsonl",
        rows({"q1": [F], "q2": [T]}, checkpoint="x"),
        rows({"eval:b:q1": [T], "q2": [T]}, checkpoint="y"),
    )
    one, two = results.read(path)
    one = with_questions(one, {"q1": "1 + 1?", "q2": "2 + 2?"})
    two = with_questions(two, {"eval:b:q1": "1 + 1?", "q2": "2 + 2?"})
    right = results.compare(one, two).rows.row(0, named=True)
    assert (right["difference"], right["higher"], right["left_out"]) == (0.5, 1, 0)


def test_nothing_in_common(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.jsonl", rows({"q1": [F]}, "b", checkpoint="x"), rows({"q1": [F]}, "c", checkpoint="y")
    )
    with pytest.raises(InputError, match="no benchmark in common: b against c"):
        results.compare(*results.read(path))
    path = written(tmp_path / "a.jsonl", rows({"q1": [F]}, checkpoint="x"), rows({"q2": [F]}, checkpoint="y"))
    with pytest.raises(InputError, match="share no question"):
        results.compare(*results.read(path), shared=True)
