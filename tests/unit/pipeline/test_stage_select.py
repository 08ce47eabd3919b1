"""Stage ``select``: sentences and counts agree, figures and warnings tell what selection did."""

from __future__ import annotations

from itertools import pairwise
from math import exp
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue
from tests.stage_run import ListConsole, run_recipe

from dasd.errors import RecipeError
from dasd.pipeline.stages.selection_figures import SelectionFigures, selection_warnings, selection_words
from dasd.results.report import series, steps


def test_sentences_verdicts_and_counts_agree(tmp_path: Path) -> None:
    run = run_recipe(tmp_path, "select-low", filters={"answer": False}, select={"beta": 0.15})
    samples = run.frame("samples", "sample-low").collect()
    verdicts = run.frame("verdicts", "select-low").join(
        samples.lazy().select("sample_id", "question_id", "text"), on="sample_id"
    )
    rows = verdicts.collect()
    sentences = run.frame("sentences", "select-low").collect()
    assert rows.group_by("question_id").agg(pl.col("kept").sum())["kept"].to_list() == [1] * 12
    assert set(rows["reason"]) == {"selected", "not_selected"}
    by_sample = sentences.group_by("sample_id").agg(
        teacher=(pl.col("kind") == "teacher").sum(), end=pl.col("end").max(), start=pl.col("start").min()
    )
    counted = rows.join(by_sample, on="sample_id")
    assert counted.height == samples.height
    assert (counted["end"] == counted["text"].str.len_bytes()).all() and (counted["start"] == 0).all()
    scores = counted["detail"].str.strip_prefix("divergence ").cast(pl.Float64)
    assert (scores == counted["teacher"]).all()
    best = counted.with_columns(top=pl.col("teacher").max().over("question_id")).filter(pl.col("kept"))
    assert (best["teacher"] == best["top"]).all()


def test_the_probability_of_a_sentence_is_that_of_the_tokens_that_cover_it(tmp_path: Path) -> None:
    run = run_recipe(tmp_path, "select-low")
    row = run.frame("sentences", "select-low").filter(pl.col("sentence") == 2).collect().row(0, named=True)
    for stage, frame, column in (
        ("sample-low", "samples", "p_teacher"),
        ("score-low", "scores", "p_student"),
    ):
        tokens = run.frame(frame, stage).filter(pl.col("sample_id") == row["sample_id"]).collect()
        ends, logprobs = tokens["token_ends"][0].to_list(), tokens["logprobs"][0].to_list()
        starts = [0, *ends[:-1]]
        inside = [
            x
            for start, end, x in zip(starts, ends, logprobs, strict=True)
            if start < row["end"] and end > row["start"]
        ]
        assert row[column] == pytest.approx(exp(sum(inside) / len(inside)), rel=1e-5)


@pytest.mark.parametrize("mode", ["processed", "none"])
def test_unlike_logprobs_are_refused_where_they_would_be_compared(tmp_path: Path, mode: str) -> None:
    teacher = {"options": {"mode": mode}}
    with pytest.raises(RecipeError, match="use one of longest, random, grape"):
        run_recipe(tmp_path, "select-low", teacher=teacher)
    run = run_recipe(tmp_path, "select-low", teacher=teacher, select={"selector": "longest"})
    summary = run.summary("select-low")
    assert summary["agreement_longest"] == 1
    assert run.frame("sentences", "select-low").collect()["p_teacher"].is_nan().all()
    assert [summary[f"{kind}_share"] for kind in ("teacher", "student", "common")] == [None] * 3
    assert series.selected_sentences(run).collect().is_empty()
    (shown,) = steps.selections(run)
    assert shown.sentences > 0 and shown.common_share is None


def test_per_question_and_naturalness(tmp_path: Path) -> None:
    several = run_recipe(tmp_path, "select-low", select={"per_question": 2}, filters={"answer": False})
    assert several.summary("select-low")["selected"] == 24
    natural = run_recipe(tmp_path, "select-low", select={"selector": "naturalness"})
    assert natural.summary("select-low")["selected"] == 12


def test_warnings_are_said_aloud(tmp_path: Path) -> None:
    console = ListConsole()
    run = run_recipe(tmp_path, "select-low", console, select={"per_question": 3})
    assert any("everything is kept" in text for text in console.warned)
    assert run.summary("select-low")["warnings"]
    single = ListConsole()
    run_recipe(tmp_path, "select-low", single, sampling={"candidates": 1})
    assert any("nothing to select from" in text for text in single.warned)


def table(
    ranks: list[float], tokens: list[int], teacher: list[int], correct: list[bool | None]
) -> pl.DataFrame:
    """Two candidates a question; the first of each is selected."""
    count = len(ranks)
    longest = [tokens[n] >= tokens[n ^ 1] for n in range(count)]
    return pl.DataFrame(
        {
            "question_id": [f"q{n // 2}" for n in range(count)],
            "domain": ["sums"] * count,
            "rank": ranks,
            "tokens": tokens,
            "sentences": [10] * count,
            "teacher": teacher,
            "student": [0] * count,
            "common": [10 - t for t in teacher],
            "selected": [n % 2 == 0 for n in range(count)],
            "drawn": [n % 2 == 0 for n in range(count)],
            "correct": pl.Series(correct, dtype=pl.Boolean),
            "by_length": longest,
            "by_lot": [n % 4 in (0, 3) for n in range(count)],
        }
    )


def selection_summary(*windows: pl.DataFrame) -> dict[str, JsonValue]:
    figures = SelectionFigures()
    for window in windows:
        figures.add(window)
    return figures.summary()


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 99), st.booleans() | st.none()), min_size=1),
    st.data(),
)
def test_figures_are_the_same_however_the_questions_are_cut_into_windows(
    candidates: list[tuple[int, int, bool | None]], data: st.DataObject
) -> None:
    ranks, tokens, correct = (
        list(cells) for cells in zip(*(c for c in candidates for _ in "ab"), strict=True)
    )
    ranks = [rank if n % 3 else float("nan") for n, rank in enumerate(map(float, ranks))]
    whole = table(ranks, tokens, [int(token % 11) for token in tokens], correct)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(candidates)))))
    windows = [whole[2 * a : 2 * b] for a, b in pairwise([0, *cuts, len(candidates)])]
    found, wanted = selection_summary(*windows), selection_summary(whole)
    for name, figure in wanted.items():
        assert found[name] == (figure if figure is None else pytest.approx(figure, rel=1e-12, nan_ok=True))
    assert found["questions"] == len(candidates) and found["candidates"] == 2 * len(candidates)
    assert found["tokens_mean_after"] == sum(tokens[::2]) / len(candidates)


def test_figures() -> None:
    found = selection_summary(table([4, 1, 3, 3], [40, 10, 30, 35], [4, 1, 3, 3], [True, False, False, None]))
    assert found["teacher_share"] == 11 / 40
    assert found["agreement_longest"] == 0.5
    assert found["agreement_random"] == 0.5
    assert found["agreement_random_expected"] == 0.5
    assert found["discriminated"] == 0.5
    assert (found["wrong_before"], found["wrong_after"]) == (pytest.approx(2 / 3), 0.5)
    assert (found["tokens_mean_before"], found["tokens_mean_after"]) == (28.75, 35)
    assert found["score_length_correlation"] == pytest.approx(0.9486832980505138)
    assert selection_warnings(found, compares=True, by_length=False) == []


def test_words_are_few_and_leave_out_what_nobody_knows() -> None:
    summary = selection_summary(
        table([4, 1, 3, 3], [40, 10, 30, 35], [4, 1, 3, 3], [True, False, False, None])
    )
    assert selection_words(summary) == [
        "2 of 4 candidates selected, 2 questions, 2 of them with a choice",
        "sentences: 28% Teacher, 0% Student, 72% Common",
        "agrees with the longest candidate in 50% of these questions; chance is 50%",
        "mean length: 28.8 tokens over the candidates, 35.0 over the selected",
        "wrong answers: 67% of the candidates, 50% of the selected",
    ]
    ungraded = selection_summary(table([4, 1], [40, 10], [4, 1], [None, None]).head(1))
    assert [line.split()[0] for line in selection_words(ungraded)] == ["1", "sentences:", "mean"]


def test_each_warning_has_its_cause() -> None:
    def warned(frame: pl.DataFrame, selector: str = "divergence") -> str:
        return " ".join(
            selection_warnings(selection_summary(frame), selector == "divergence", selector == "longest")
        )

    length = table([4, 1, 3, 1], [40, 10, 50, 35], [4, 1, 3, 1], [None] * 4)
    assert "selects by length" in warned(length)
    assert warned(length, "longest") == ""
    far = table([9, 8, 9, 7], [10, 40, 30, 35], [9, 8, 9, 7], [None] * 4)
    assert "Teacher sentences" in warned(far)
    assert warned(far, "grape") == ""
    flat = table([1, 1, 1, 1], [10, 40, 30, 35], [1] * 4, [None] * 4)
    assert "discriminates nothing" in warned(flat)
