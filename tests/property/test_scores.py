"""Scores against short plain-Python references."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, product
from math import sqrt
from statistics import mean, stdev

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dasd.base.schemas import EVAL
from dasd.evaluation.statistics import average, compare, majority_at, majority_of, pass_at, pass_probability
from dasd.evaluation.statistics.estimate import mean_over_questions

attempts = st.lists(st.lists(st.booleans(), min_size=1, max_size=5), min_size=1, max_size=6)


def rows(correct: list[list[bool]], extracted: list[list[str | None]] | None = None) -> pl.DataFrame:
    return pl.DataFrame(
        [
            ("b", f"q{q}", a, "t", extracted[q][a] if extracted else None, right, "stop", 3, 0.1)
            for q, question in enumerate(correct)
            for a, right in enumerate(question)
        ],
        schema=dict(EVAL.columns),
        orient="row",
    )


@given(attempts)
def test_average_is_the_clustered_estimate(correct: list[list[bool]]) -> None:
    found = average(rows(correct))
    means = [mean(map(float, question)) for question in correct]
    assert found.value == pytest.approx(mean(means))
    assert (found.questions, found.attempts) == (len(correct), sum(map(len, correct)))
    if len(means) == 1:
        assert found.standard_error is None
    else:
        assert found.standard_error == pytest.approx(stdev(means) / sqrt(len(means)))
    if len(means) > 1 and len({len(question) for question in correct}) == 1:
        # Miller 2024: sums of deviations within each cluster, squared, over all answers.
        total = sum(map(len, correct))
        centre = sum(sum(question) for question in correct) / total
        clustered = sqrt(sum(sum(right - centre for right in question) ** 2 for question in correct)) / total
        assert found.standard_error == pytest.approx(clustered * sqrt(len(means) / (len(means) - 1)))


@given(st.integers(1, 7).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_subsets_with_a_right_one(case: tuple[int, int, int]) -> None:
    n, c, k = case
    subsets = list(combinations([True] * c + [False] * (n - c), k))
    assert pass_probability(n, c, k) == pytest.approx(mean(float(any(subset)) for subset in subsets))


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=5), min_size=1, max_size=5), st.integers(1, 3))
def test_pass_at_k_over_questions(correct: list[list[bool]], k: int) -> None:
    found = pass_at(rows(correct), k)
    chances = [mean(float(any(subset)) for subset in combinations(question, k)) for question in correct]
    assert found.value == pytest.approx(mean(chances))
    assert found.standard_error == (
        None if len(chances) == 1 else pytest.approx(stdev(chances) / sqrt(len(chances)))
    )


@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=6))
def test_majority_is_the_mean_over_tie_breaks(votes: list[str | None]) -> None:
    given_votes = [vote for vote in votes if vote is not None]
    most = max((given_votes.count(vote) for vote in given_votes), default=0)
    winners = sorted({vote for vote in given_votes if given_votes.count(vote) == most})
    assert majority_of(votes, "a") == pytest.approx(float(Fraction("a" in winners, max(1, len(winners)))))


@given(
    st.lists(
        st.lists(st.sampled_from(["right", "x", "y", None]), min_size=2, max_size=5), min_size=1, max_size=4
    ),
    st.integers(1, 2),
)
def test_majority_at_k_is_the_mean_over_subsets(answers: list[list[str | None]], k: int) -> None:
    found = majority_at(rows([[a == "right" for a in q] for q in answers], answers), k)
    wanted = [mean(majority_of(subset, "right") for subset in combinations(q, k)) for q in answers]
    assert found.value == pytest.approx(mean(wanted))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=9))
def test_the_paired_test_tries_all_signs(pairs: list[tuple[bool, bool]]) -> None:
    found = compare(rows([[a] for a, _ in pairs]), rows([[b] for _, b in pairs]))
    differences = [b - a for a, b in pairs]
    sums = [
        abs(sum(sign * d for sign, d in zip(signs, differences, strict=True)))
        for signs in product((-1, 1), repeat=len(differences))
    ]
    assert found.exact
    assert found.p_value == pytest.approx(mean(float(s >= abs(sum(differences))) for s in sums))
    assert found.difference == pytest.approx(mean(differences))
    assert (found.better, found.worse) == (differences.count(1), differences.count(-1))


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20))
def test_mean_and_error(values: list[float]) -> None:
    value, error = mean_over_questions(values)
    assert value == pytest.approx(mean(values), abs=1e-6)
    assert error == pytest.approx(stdev(values) / sqrt(len(values)), abs=1e-6)
