"""Metrics: means and standard errors over questions, the KL estimate, cuts, think tags."""

from __future__ import annotations

from statistics import stdev

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dasd.base.schemas import EVAL, METRICS
from dasd.pipeline.stages.cuts import cut_end
from dasd.pipeline.stages.metrics import answer_metrics, kl_metrics, metrics_words, teacher_metrics


def answers(correct: dict[str, list[bool]]) -> pl.DataFrame:
    rows = [
        ("bench", question, attempt, "t", None, right, "stop" if right else "length", 10 + attempt, 0.1)
        for question, values in correct.items()
        for attempt, right in enumerate(values)
    ]
    return pl.DataFrame(rows, schema=dict(EVAL.columns), orient="row")


def asked(**domains: str) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "question_id": list(domains),
            "domain": list(domains.values()),
            "answer": ["1"] * len(domains),
            "verifier": [None if name == "open" else "math" for name in domains],
        },
        schema_overrides={"verifier": pl.String},
    )


def find(metrics: pl.DataFrame, metric: str, group: str = "all") -> tuple[float, float | None, int]:
    row = metrics.filter((pl.col("metric") == metric) & (pl.col("group") == group))
    assert row.height == 1
    return row.select("value", "standard_error", "n").row(0)


def test_errors_are_over_questions_not_attempts() -> None:
    found = answer_metrics(
        answers({"a": [True, True], "b": [True, False], "c": [False, False]}),
        asked(a="x", b="x", c="y"),
        "low",
    )
    value, error, n = find(found, "accuracy")
    assert (value, n) == (0.5, 3)
    assert error == pytest.approx(stdev([1, 0.5, 0]) / 3**0.5)
    assert find(found, "accuracy", "x")[0] == 0.75
    assert find(found, "accuracy", "y") == (0.0, None, 1)
    assert find(found, "cut_off_rate")[0] == 0.5
    assert find(found, "length_tokens")[:2] == (10.5, 0.0)
    assert set(found["checkpoint"]) == {"low"} and set(found["benchmark"]) == {"bench"}


def test_questions_without_verifier_have_no_part_in_the_accuracy() -> None:
    both = answers({"a": [True], "open": [False]})
    assert find(answer_metrics(both, asked(a="x", open="x"), "low"), "accuracy") == (1.0, None, 1)
    alone = answer_metrics(answers({"open": [False]}), asked(open="x"), "low")
    assert set(alone["metric"]) == {"length_tokens", "cut_off_rate"}


def test_kl_is_the_mean_difference_of_sums() -> None:
    heldout = pl.DataFrame(
        {
            "sample_id": ["a", "b", "c"],
            "question_id": ["p", "q", "r"],
            "domain": ["x", "x", "x"],
            "source": ["s", "s", "s"],
            "finish_reason": ["stop", "stop", "length"],
            "logprobs": [[-1.0, -1.0], [-0.5], [-2.0]],
        }
    )
    scores = pl.DataFrame(
        {
            "sample_id": ["c", "b", "a"],
            "logprobs": [[-4.0], [-0.5, -0.5], [-3.0]],
            "token_ids": [[1], [1, 2], [1]],
        }
    )
    differences = [1.0, 0.5, 2.0]
    value, error, n = find(kl_metrics(heldout, scores, "before"), "kl_nats_per_response")
    assert value == pytest.approx(sum(differences) / 3)
    assert error == pytest.approx(stdev(differences) / 3**0.5)
    assert n == 3
    own = teacher_metrics(heldout, scores, pl.Series([True, None, False]))
    assert find(own, "accuracy")[0] == 0.5
    assert find(own, "length_tokens")[0] == pytest.approx(4 / 3)
    assert find(own, "cut_off_rate")[0] == pytest.approx(1 / 3)


@given(st.text(min_size=1, max_size=30), st.floats(0, 0.99), st.floats(0, 0.999), st.data())
def test_a_cut_lies_between_characters_at_a_token_beyond_the_share(
    text: str, cut_from: float, draw: float, data: st.DataObject
) -> None:
    size = len(text.encode())
    inner = data.draw(st.lists(st.integers(0, size), max_size=20))
    ends = [*sorted(inner), size]
    cut = cut_end(text, ends, cut_from, draw)
    assert 0 < cut <= size
    text.encode()[:cut].decode()
    assert cut in ends


def test_cuts_are_spread_over_the_later_part() -> None:
    ends = list(range(1, 11))
    cuts = {cut_end("x" * 10, ends, 0.5, n / 100) for n in range(100)}
    assert cuts == {6, 7, 8, 9}
    assert cut_end("x", [1], 0.5, 0.3) == 1
    assert cut_end("aé!!", [1, 2, 3, 4, 5], 0.0, 0.3) == 3, "moved on past the inside of a character"


def test_words_of_metrics_are_five_lines_at_most() -> None:
    def rows(benchmark: str) -> list[tuple[object, ...]]:
        return [
            ("low", benchmark, "accuracy", "all", 0.5, 0.0251, 4),
            ("low", benchmark, "accuracy", "x", 0.75, None, 2),
            ("low", benchmark, "cut_off_rate", "all", 0.0, None, 4),
        ]

    def words(*benchmarks: str) -> list[str]:
        found = [row for benchmark in benchmarks for row in rows(benchmark)]
        return metrics_words(pl.DataFrame(found, schema=dict(METRICS.columns), orient="row"))

    assert words("aime") == ["low on aime: accuracy 0.500 ± 0.025, 0.000 cut off"]
    assert len(words(*"abcde")) == 5
    assert words(*"abcdefg")[4:] == ["and 3 more lines: --verbose, or the report"]
