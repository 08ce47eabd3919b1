"""Scores: known values, intervals that cover what they claim, comparisons, wrong input."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from dasd.base.schemas import EVAL, check
from dasd.errors import InputError
from dasd.evaluation.statistics import (
    SUMMARY,
    Estimate,
    average,
    bootstrap,
    compare,
    length,
    majority_at,
    pass_at,
    pass_probability,
    share_difference_interval,
    share_interval,
    summary,
    t_interval,
    truncation_rate,
)
from dasd.evaluation.statistics.student_t import t_quantile, t_two_sided


def rows(
    correct: list[list[bool]], benchmark: str = "b", extracted: list[list[str | None]] | None = None
) -> pl.DataFrame:
    return pl.DataFrame(
        [
            (
                benchmark,
                f"q{q:03d}",
                a,
                "t",
                extracted[q][a] if extracted else ("7" if right else "8"),
                right,
                "stop" if right else "length",
                10 * q + a,
                0.1,
            )
            for q, question in enumerate(correct)
            for a, right in enumerate(question)
        ],
        schema=dict(EVAL.columns),
        orient="row",
    )


T, F = True, False


def test_known_values() -> None:
    got = rows([[T, T, F, F], [T, F, F, F], [F, F, F, F]])
    assert average(got).value == pytest.approx(0.25)
    assert average(got).standard_error == pytest.approx(0.25 / 3**0.5)
    assert pass_at(got, 2).value == pytest.approx((5 / 6 + 1 / 2 + 0) / 3)
    assert pass_at(got, 1).value == pytest.approx(average(got).value)
    assert truncation_rate(got).value == pytest.approx(0.75)
    assert length(got).value == pytest.approx(11.5)
    assert pass_probability(10, 3, 5) == pytest.approx(1 - 21 / 252)


def test_majority_counts_right_answers_as_one_and_missing_ones_not_at_all() -> None:
    got = rows([[T, T, F, F, F]], extracted=[["1/2", "0.5", "3", "4", None]])
    assert majority_at(got).value == 1.0
    tied = rows([[T, F]], extracted=[["1", " 2"]])
    assert majority_at(tied).value == 0.5
    same = rows([[T, T, F, F, F]], extracted=[["1", "1", "x  y", "X y", "x y"]])
    assert majority_at(same).value == 0.0
    assert majority_at(rows([[F, F]], extracted=[[None, None]])).value == 0.0


def test_majority_of_many_attempts_is_drawn_by_the_seed() -> None:
    got = rows([[T, F, F] * 12])
    assert majority_at(got, 7, seed=1) == majority_at(got, 7, seed=1)
    # Right answers are 12 of 36; the chance of 4 or more among 7 is hypergeometric.
    from math import comb

    exact = sum(comb(12, right) * comb(24, 7 - right) for right in range(4, 8)) / comb(36, 7)
    assert majority_at(got, 7).value == pytest.approx(exact, abs=0.03)


def test_student_t_has_the_tables_values() -> None:
    # Percentage points from the usual table.
    for degrees, wanted in ((1, 12.706), (2, 4.303), (5, 2.571), (30, 2.042), (1000, 1.962)):
        assert t_quantile(0.975, degrees) == pytest.approx(wanted, abs=5e-4)
        assert t_two_sided(wanted, degrees) == pytest.approx(0.05, abs=1e-4)
    assert t_quantile(0.5, 3) == pytest.approx(0, abs=1e-9)
    assert t_quantile(0.025, 5) == pytest.approx(-2.571, abs=5e-4)
    assert t_two_sided(0, 4) == 1.0
    with pytest.raises(ValueError, match="degrees"):
        t_two_sided(1, 0)
    with pytest.raises(ValueError, match="probability"):
        t_quantile(1, 3)


def _simulated(random: np.random.Generator, questions: int, k: int) -> np.ndarray:
    """Right or wrong attempts at questions drawn from Beta(2, 2): the true mean is 0.5."""
    return (random.random((questions, k)) < random.beta(2, 2, size=(questions, 1))).astype(float)


def test_the_t_interval_covers() -> None:
    random = np.random.default_rng(5)
    covered = 0
    for _ in range(1000):
        drawn = _simulated(random, 40, 4)
        means = drawn.mean(axis=1)
        error = float(means.std(ddof=1) / 40**0.5)
        interval = t_interval(Estimate(float(means.mean()), error, 40, 160))
        assert interval is not None
        covered += interval.low <= 0.5 <= interval.high
    assert 930 <= covered <= 970


@pytest.mark.parametrize(
    ("questions", "attempts", "k", "skill", "truth"),
    # Expected pass@k of Beta(a, b) questions: 1 - B(a, b + k) / B(a, b). t intervals cover 85, 35 and 79 % here.
    [(30, 1, 1, (8, 0.5), 16 / 17), (30, 4, 4, (6, 2), 65 / 66), (30, 16, 4, (6, 2), 65 / 66)],
)
def test_share_intervals_cover_near_the_ends(
    questions: int, attempts: int, k: int, skill: tuple[float, float], truth: float
) -> None:
    random = np.random.default_rng(4)
    chances = np.array([pass_probability(attempts, right, k) for right in range(attempts + 1)])
    covered = 0
    for _ in range(300):
        values = chances[random.binomial(attempts, random.beta(*skill, size=questions))]
        error = float(values.std(ddof=1) / questions**0.5)
        interval = share_interval(Estimate(float(values.mean()), error, questions, questions * attempts))
        assert interval is not None and 0 <= interval.low <= values.mean() <= interval.high <= 1
        covered += interval.low <= truth <= interval.high
    assert covered >= 270


def test_share_intervals_are_wilson_s_for_a_plain_share_and_end_with_it() -> None:
    plain = share_interval(Estimate(0.9, (0.09 / 99_999) ** 0.5, 100_000, 100_000))
    t = share_interval(Estimate(0.5, 0.02, 400, 1600))
    assert plain is not None and (plain.low, plain.high) == pytest.approx((0.898125, 0.901844), abs=2e-6)
    assert t is not None and (t.low, t.high) == pytest.approx((0.5 - 0.0392, 0.5 + 0.0392), abs=2e-4)
    none, every = (share_interval(Estimate(float(p), 0.0, 50, 200)) for p in (0, 1))
    assert none is not None and every is not None
    assert (none.low, every.high) == (0, 1) and none.high == pytest.approx(1 - every.low)
    assert 0.05 < none.high < 0.1  # about 4 / (50 + 4)
    assert share_interval(Estimate(0.5, None, 1, 4)) is None


@pytest.mark.parametrize("second", [(8, 0.6), (4, 0.6)])
def test_intervals_of_differences_cover_and_stay_between_minus_one_and_one(
    second: tuple[float, float],
) -> None:
    random = np.random.default_rng(5)
    truth = second[0] / sum(second) - 8 / 8.6
    covered = 0
    for _ in range(300):
        sides = [random.binomial(4, random.beta(*skill, size=40)) / 4 for skill in ((8, 0.6), second)]
        interval = share_difference_interval(*sides, (160, 160))
        assert interval is not None and -1 <= interval.low <= interval.high <= 1
        covered += interval.low <= truth <= interval.high
    assert covered >= 275
    zeros, ones = np.zeros(5), np.ones(5)
    widest = share_difference_interval(zeros, ones, (5, 5))
    assert widest is not None and widest.high == 1 and 0 < widest.low < 1


def test_shares_of_a_table_stay_between_zero_and_one() -> None:
    """The issue's case: one of 150 questions failed at all attempts."""
    table = summary(rows([[True] * 4] * 149 + [[False] * 4]), [4])
    ends = table.filter(pl.col("metric") == "pass@4").select("value", "low", "high").row(0)
    assert ends == pytest.approx((149 / 150, 0.963, 0.9988), abs=1e-3)
    shares = table.filter(pl.col("metric") != "length_tokens")
    assert (shares["low"] >= 0).all() and (shares["high"] <= 1).all()


def test_bootstrap_intervals_cover() -> None:
    random = np.random.default_rng(6)
    covered = 0
    for seed in range(1000):
        interval = bootstrap(_simulated(random, 40, 4).mean(axis=1), draws=1000, seed=seed)
        covered += interval.low <= 0.5 <= interval.high
    assert 930 <= covered <= 970


def test_bootstrap_is_seeded_and_wants_two_questions() -> None:
    values = np.random.default_rng(1).random(9).tolist()
    assert bootstrap(values, seed=3) == bootstrap(values, seed=3) != bootstrap(values, seed=4)
    for wrong in ([], [1.0]):
        with pytest.raises(InputError, match=f"at least two questions to draw from, got {len(wrong)}"):
            bootstrap(wrong)


def test_comparison_of_checkpoints() -> None:
    first = rows([[F, F], [T, F], [F, F], [T, T], [F, F], [F, F]])
    second = rows([[T, T], [T, T], [T, F], [T, T], [T, T], [T, F]])
    found = compare(first, second)
    differences = [1, 0.5, 0.5, 0, 1, 0.5]
    assert found.difference == pytest.approx(np.mean(differences))
    assert found.standard_error == pytest.approx(np.std(differences, ddof=1) / 6**0.5)
    assert found.exact and found.p_value == 2 / 2**5
    assert (found.better, found.worse, found.questions) == (5, 0, 6)
    # t = 3.7966 with 5 degrees of freedom; the table has 0.01 at 4.032 and 0.02 at 3.365.
    assert found.t_p_value is not None and 0.01 < found.t_p_value < 0.02
    assert found.interval is not None and found.interval.low < found.difference < found.interval.high
    same = compare(first, first)
    assert (same.difference, same.p_value, same.t_p_value) == (0, 1, None)
    assert compare(second, first).p_value == found.p_value
    assert compare(first, second, value="tokens").difference == 0


def test_drawn_signs_agree_with_the_t_test() -> None:
    random = np.random.default_rng(8)
    a = [[bool(x)] for x in random.random(300) < 0.5]
    b = [[bool(x)] for x in random.random(300) < 0.6]
    found = compare(rows(a), rows(b), seed=1)
    assert not found.exact and found.t_p_value is not None
    assert found.p_value == pytest.approx(found.t_p_value, abs=0.02)
    assert found == compare(rows(a), rows(b), seed=1)


def test_p_values_are_uniform_where_nothing_differs() -> None:
    random = np.random.default_rng(9)
    below = 0
    for seed in range(400):
        a, b = ([[bool(x) for x in row] for row in _simulated(random, 12, 3)] for _ in range(2))
        below += compare(rows(a), rows(b), seed=seed).p_value <= 0.05
    assert below <= 32, "at most 5 %, give or take"


def test_wrong_input_is_named() -> None:
    one = rows([[T, F]])
    with pytest.raises(InputError, match="b, c"):
        average(pl.concat([one, rows([[T]], "c")]))
    with pytest.raises(InputError, match="attempt 0 at question q000"):
        average(pl.concat([one, one]))
    with pytest.raises(InputError, match="pass@3: a question has 2"):
        pass_at(one, 3)
    with pytest.raises(InputError, match="majority@3: question q000 has 2"):
        majority_at(one, 3)
    with pytest.raises(InputError, match="at least one question"):
        average(one.clear())
    with pytest.raises(InputError, match="e.g. q001"):
        compare(rows([[T], [T]]), rows([[T]]))
    with pytest.raises(InputError, match="none"):
        compare(one.clear(), one.clear())
    with pytest.raises(InputError, match="pass@0"):
        pass_probability(3, 1, 0)


def test_summary_has_every_score() -> None:
    both = pl.concat([rows([[T, F, T], [F, F, T]]), rows([[T]], "single")])
    found = check(summary(both), SUMMARY, "summary")
    assert found.filter(pl.col("benchmark") == "b")["metric"].to_list() == [
        "avg@3", "pass@1", "majority@1", "pass@3", "majority@3", "length_tokens", "truncation_rate",
    ]  # fmt: skip
    single = found.filter(pl.col("benchmark") == "single")
    assert single["standard_error"].to_list() == [None] * single.height
    assert summary(both, ks=[2])["metric"].to_list().count("pass@2") == 1
