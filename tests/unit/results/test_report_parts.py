"""Parts of the report by themselves: kinds by three models, positions, cut-offs, numbers, warnings."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue
from tests import report_run

from dasd.base.schemas import ANSWER_SENTENCES, SCORES, SENTENCES, check
from dasd.base.seeds import uniform
from dasd.pipeline.stages.candidates import kinds
from dasd.pipeline.stages.own_answers_scored import samples_teacher
from dasd.plugins.recipe import Recipe
from dasd.results.report import gather, numbers, series
from dasd.results.report.answers import MOST, along_answers, drawn_answers
from dasd.results.report.cutoffs import cut_off_bins
from dasd.results.report.data import CheckpointFigures, FlowRow, Metric, ReportData
from dasd.results.report.distilled import distilled_sentences, kind_of
from dasd.results.report.response import illustrative, sentence_views

probabilities = st.floats(0, 1, width=32)


def _kind(
    p_teacher: float, p_student: float, p_distilled: float, alpha: float = 0.1, beta: float = 0.1
) -> str:
    row = pl.DataFrame(
        {"p_teacher": [p_teacher], "p_student": [p_student], "p_distilled": [p_distilled]},
        schema=dict.fromkeys(("p_teacher", "p_student", "p_distilled"), pl.Float32),
    )
    return str(row.select(kind_of(alpha, beta)).item())


@pytest.mark.parametrize(
    ("p_teacher", "p_student", "p_distilled", "kind"),
    [
        (0.50, 0.45, 0.55, "shared"),
        (0.50, 0.40, 0.45, "shared"),  # the limits belong to shared
        (0.90, 0.30, 0.80, "teacher"),
        (0.90, 0.30, 0.30, "teacher"),  # before boosted in the order of the tests
        (0.30, 0.90, 0.80, "student"),
        (0.50, 0.50, 0.90, "boosted"),
        (0.50, 0.50, 0.10, "boosted"),
        (0.50, 0.50, math.nan, "common"),
        (math.nan, 0.50, 0.50, "common"),  # responses without log-probabilities
        (math.nan, 0.50, 0.90, "common"),
        (0.30, math.nan, 0.90, "common"),
    ],
)
def test_kinds_by_three_models(p_teacher: float, p_student: float, p_distilled: float, kind: str) -> None:
    assert _kind(p_teacher, p_student, p_distilled) == kind


def test_near_beta_the_select_stage_and_the_report_say_the_same() -> None:
    steps = pl.int_range(-40, 40, eager=True).cast(pl.Float64) * 2.0**-28
    rows = pl.DataFrame({"p_teacher": 0.3 + steps, "p_student": [0.2] * 80, "p_distilled": [1.0] * 80}).cast(
        pl.Float32
    )
    found = rows.select(
        two=kinds("p_teacher", "p_student", 0.1) == "teacher", three=kind_of(0.1, 0.1) == "teacher"
    )
    assert found["two"].to_list() == found["three"].to_list()
    assert found["two"].n_unique() == 2


def test_between_a_small_alpha_and_beta_lies_common() -> None:
    assert _kind(0.50, 0.42, 0.46, alpha=0.05) == "common"


@given(probabilities, probabilities, probabilities, st.floats(0.01, 0.3), st.floats(0.01, 0.3))
def test_kinds_follow_the_order_of_the_tests(t: float, s: float, d: float, alpha: float, beta: float) -> None:
    """Against the definition in plain Python, where no difference is too near a limit to call."""
    differences = (abs(t - s), abs(t - d), abs(s - d))
    if any(abs(x - limit) < 1e-5 for x in differences for limit in (alpha, beta)):
        return
    if max(differences) <= alpha:
        wanted = "shared"
    elif t - s > beta:
        wanted = "teacher"
    elif s - t > beta:
        wanted = "student"
    else:
        wanted = "boosted" if max(abs(t - d), abs(s - d)) > alpha else "common"
    assert _kind(t, s, d, alpha, beta) == wanted


def test_distilled_probabilities_belong_to_their_sentences() -> None:
    sentences = pl.DataFrame(
        [
            ("b", 1, 3, 6, 0.5, 0.5, None, "common"),
            ("b", 0, 0, 3, 0.9, 0.2, None, "teacher"),
            ("a", 0, 0, 4, 0.5, 0.5, None, "common"),
            ("unscored", 0, 0, 4, 0.5, 0.5, None, "common"),
        ],
        schema=dict(SENTENCES.columns),
        orient="row",
    )
    logs = [math.log(p) for p in (0.25, 0.5, 0.9)]
    scores = pl.DataFrame(
        [("a", "m", [1], [4], [math.log(0.52)]), ("b", "m", [1, 2, 3], [2, 3, 6], logs)],
        schema=dict(SCORES.columns),
        orient="row",
    )
    found = check(distilled_sentences(sentences, scores, 0.1, 0.1), SENTENCES, "the test")
    assert found.select("sample_id", "sentence", "kind").rows() == [
        ("b", 1, "boosted"),
        ("b", 0, "teacher"),
        ("a", 0, "shared"),
    ]
    assert found["p_distilled"].to_list() == pytest.approx([0.9, math.sqrt(0.125), 0.52])


def test_positions_are_shares_of_each_bin() -> None:
    kinds = ["teacher", "common", "teacher", "student"]
    sentences = pl.DataFrame(
        [(name, i, 0, 0, 0.5, 0.5, None, kind) for name in ("x", "y") for i, kind in enumerate(kinds)],
        schema=dict(SENTENCES.columns),
        orient="row",
    )
    correct = pl.DataFrame({"sample_id": ["x", "y"], "correct": [True, None]})
    found = series.positions(sentences, correct, bins=2)
    assert found.group_by("correct", "bin").agg(pl.col("share").sum())["share"].to_list() == [1.0] * 4
    right = found.filter(pl.col("correct") & (pl.col("share") > 0)).select(
        "bin", "kind", "share", "responses"
    )
    assert right.rows() == [
        (0, "teacher", 0.5, 1),
        (0, "common", 0.5, 1),
        (1, "teacher", 0.5, 1),
        (1, "student", 0.5, 1),
    ] or right.sort("bin", "kind").rows() == [
        (0, "common", 0.5, 1),
        (0, "teacher", 0.5, 1),
        (1, "student", 0.5, 1),
        (1, "teacher", 0.5, 1),
    ]


@given(st.lists(st.tuples(st.integers(1, 500), st.booleans()), min_size=1, max_size=80))
def test_cut_off_bins_hold_every_answer_once(answers: list[tuple[int, bool]]) -> None:
    frame = pl.DataFrame(
        [("mixed", tokens, cut) for tokens, cut in answers],
        schema={"curve": pl.String, "tokens": pl.UInt32, "cut": pl.Boolean},
        orient="row",
    )
    bins = cut_off_bins(frame)
    assert bins["n"].sum() == len(answers)
    assert (bins["share"] * bins["n"]).sum() == pytest.approx(sum(cut for _, cut in answers))
    assert bins["low"].is_sorted()


def test_sampling_is_seeded_and_bounded() -> None:
    rows = pl.DataFrame({"sample_id": [f"{n:03d}" for n in range(200)] * 2}).lazy()
    first = series.sampled_ids(rows, 20, 1, "test")
    assert len(set(first)) == 20
    assert series.sampled_ids(rows, 20, 1, "test") == first
    assert series.sampled_ids(rows, 20, 2, "test") != first
    assert len(series.sampled_ids(rows, 1000, 1, "test")) == 200


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=30), st.integers(1, 12))
def test_samples_are_drawn_the_same_however_rows_come(cells: list[tuple[int, bool]], limit: int) -> None:
    ids = [f"{number}" for number, _ in sorted(cells)]
    batches: list[list[str]] = []
    for name, (_, ends) in zip(ids, cells, strict=True):
        batches = [*batches, [name]] if ends or not batches else [*batches[:-1], [*batches[-1], name]]

    class Rows:
        """A LazyFrame as far as it is read here."""

        def select(self, _: str) -> Rows:
            return self

        def head(self, _: int) -> Rows:
            return Rows()

        def collect(self) -> pl.DataFrame:
            return self._frame([])

        def collect_batches(self) -> list[pl.DataFrame]:
            return [self._frame(batch) for batch in batches]

        def _frame(self, names: list[str]) -> pl.DataFrame:
            names_of = dict.fromkeys(("sample_id", "question_id"), names)
            return pl.DataFrame(names_of, schema={"sample_id": pl.String, "question_id": pl.String})

    rows: Any = Rows()
    wanted = sorted(set(ids), key=lambda name: uniform("test", 3, name))
    found = series.sampled_ids(rows, limit, 3, "test")
    assert found == (wanted[:limit] if len(wanted) > limit else sorted(wanted))
    whole = [part["question_id"].to_list() for part in series._whole_questions(rows)]
    assert [name for part in whole for name in part] == ids
    assert sum(len(set(part)) for part in whole) == len(set(ids))


def test_own_answers_are_drawn_by_the_seed_right_and_wrong_apart() -> None:
    rows = pl.DataFrame(
        {"sample_id": [f"{n:03d}" for n in range(100)], "correct": [n % 10 == 0 for n in range(100)]}
    )
    first = drawn_answers(rows, 1)
    assert dict(first.group_by("correct").len().iter_rows()) == {True: 10, False: MOST}
    assert drawn_answers(rows.reverse(), 1).equals(first)
    assert not drawn_answers(rows, 2).equals(first)
    assert drawn_answers(rows.clear(), 1).height == 0


def test_means_along_answers_leave_out_what_is_not_known() -> None:
    sentences = pl.DataFrame(
        [
            ("x", True, 0, 0, 1, 0.5, math.nan, 0.9, "common"),
            ("x", True, 1, 1, 2, 0.4, 0.2, 0.8, "teacher"),
            ("y", True, 0, 0, 1, 0.3, 0.6, 0.7, "student"),
        ],
        schema=dict(ANSWER_SENTENCES.columns),
        orient="row",
    )
    found = along_answers(sentences)
    # Two sentences lie in the 3rd and the 8th tenth, a single one in the 6th.
    assert found.select("correct", "part", "sentences").rows() == [(True, 2, 1), (True, 5, 1), (True, 7, 1)]
    assert found["p_student"].to_list() == [None, pytest.approx(0.6), pytest.approx(0.2)]


@pytest.mark.parametrize(
    ("changes", "asks"),
    [
        ({}, True),
        (
            {
                "data": "runs/another",
                "questions": {"eval": [{"source": "file"}]},
                "stages": [{"name": "low", "kind": "off-policy", "temperature": 1.0}],
            },
            False,
        ),
        (
            {
                "stages": [
                    {"name": "low", "kind": "off-policy", "temperature": 1.0, "samples": "given.parquet"}
                ],
                "evaluation": {"heldout": 0},
            },
            False,
        ),
    ],
)
def test_no_teacher_is_loaded_for_a_figure_alone(changes: dict[str, JsonValue], asks: bool) -> None:
    assert samples_teacher(Recipe.load({**report_run.RECIPE, **changes}).settings) is asks


def test_sentences_are_cut_by_bytes() -> None:
    text = "Größe. 你好。 Ok"
    ends = [len("Größe. ".encode()), len("Größe. 你好。 ".encode()), len(text.encode())]
    rows = pl.DataFrame(
        [
            ("x", i, start, end, 0.5, math.nan, None, "common")
            for i, (start, end) in enumerate(zip([0, *ends], ends, strict=False))
        ],
        schema=dict(SENTENCES.columns),
        orient="row",
    )
    views = sentence_views(text, rows.reverse())
    assert [view.text for view in views] == ["Größe. ", "你好。 ", "Ok"]
    assert "".join(view.text for view in views) == text
    assert (views[0].p_student, views[0].delta) == (None, None)


def test_the_example_shows_several_kinds_and_prefers_right_answers() -> None:
    rows = [("dull", i, "common") for i in range(10)]
    rows += [
        ("varied", i, kind) for i, kind in enumerate(["teacher", "student", "common", "teacher", "common"])
    ]
    frame = pl.DataFrame(rows, schema=["sample_id", "sentence", "kind"], orient="row")
    assert illustrative(frame) == "varied"
    assert illustrative(frame, ["dull"]) == "dull"
    assert illustrative(frame.clear()) is None


@pytest.mark.parametrize(
    ("value", "error", "percent", "words"),
    [
        (0.1234, 0.031, True, "12.3 ± 3.1"),
        (0.5, None, True, "50.0"),
        (None, 0.1, True, "–"),
        (9.0, 1.9, False, "9.0 ± 1.9"),
        (1234.5, 56.7, False, "1234 ± 57"),
        (-0.5, 0.021, False, "−0.500 ± 0.021"),
        (3.0, 0.0, False, "3.00 ± 0.00"),
    ],
)
def test_plus_minus(value: float | None, error: float | None, percent: bool, words: str) -> None:
    assert numbers.plus_minus(value, error, as_percent=percent) == words


def test_large_counts_are_short() -> None:
    assert [numbers.short(n) for n in (None, 0, 9876, 12_345, 4_560_000, 7_800_000_000)] == [
        "–",
        "0",
        "9\u202f876",
        "12.3\u202fk",
        "4.56\u202fM",
        "7.8\u202fG",
    ]


def _checkpoint(name: str, accuracy: float, error: float, kl: float) -> CheckpointFigures:
    def metric(what: str, value: float) -> Metric:
        return Metric(benchmark="eval", metric=what, group="all", value=value, standard_error=error, n=9)

    role = "before" if name == "before" else "trained"
    return CheckpointFigures(
        name=name, role=role, metrics=(metric("accuracy", accuracy), metric("kl_nats_per_response", kl))
    )


def test_a_student_that_did_not_improve_is_said_aloud() -> None:
    before = _checkpoint("before", 0.5, 0.05, 10.0)
    assert gather.changes((before, _checkpoint("low", 0.9, 0.05, 5.0))) == []
    found = gather.changes((before, _checkpoint("low", 0.55, 0.05, 12.0)))
    assert len(found) == 2
    assert "did not clearly grow" in found[0] and "KL to the teacher grew" in found[1]
    assert "the accuracy fell" in gather.changes((before, _checkpoint("low", 0.1, 0.05, 9.0)))[0]


def test_a_wide_spread_gets_a_logarithmic_axis_that_says_so() -> None:
    from dasd.results.report.drawing import Plot, drawing
    from dasd.results.report.figures_training import checkpoints_figure, losses_figure

    def words_of(draw: Callable[[], Plot]) -> list[str]:
        return re.findall(r"<text[^>]*>([^<]*)</text>", drawing("some", "Some", draw).svg)

    before, low = _checkpoint("before", 0.01, 0.005, 200.0), _checkpoint("low", 0.9, 0.05, 1.5)
    words = words_of(lambda: checkpoints_figure([before, low], "eval"))
    assert "KL to the teacher (nats a response, log scale)" in words
    assert "Accuracy (%)" in words  # a share keeps its zero
    assert {"1", "10", "100"} <= set(words)
    low = _checkpoint("low", 0.9, 0.05, 150.0)
    narrow = words_of(lambda: checkpoints_figure([before, low], "eval"))
    assert "KL to the teacher (nats a response)" in narrow
    for last, label in ((0.1, "loss (nats a token, log scale)"), (0.0, "loss (nats a token)")):
        rows = [("train-low", 1, 5.0), ("train-low", 2, last)]
        schema = {"stage": pl.String, "step": pl.UInt32, "loss": pl.Float64}
        losses = pl.DataFrame(rows, schema=schema, orient="row")
        assert label in words_of(partial(losses_figure, losses))


def test_every_key_of_the_numbers_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "report.md").read_text(encoding="utf-8")
    for key in [*ReportData.model_fields, *FlowRow.model_fields, *Metric.model_fields]:
        assert re.search(rf"`{key}\b", page) or key == "stage", key
