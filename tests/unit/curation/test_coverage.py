"""Selector coverage: the teacher's mixture is kept, and within it the most Teacher sentences are taken."""

from __future__ import annotations

import random
from collections.abc import Sequence
from math import sqrt

import numpy as np
import polars as pl
import pytest

from dasd.api import CANDIDATES
from dasd.curation.selectors.by_column import DivergenceOptions, DivergenceSelector
from dasd.curation.selectors.coverage import CoverageOptions, CoverageSelector
from dasd.curation.selectors.lengths import RandomSelector
from dasd.curation.selectors.ngrams import WIDTH, ngram_features
from dasd.pipeline.stages.select import choose

MODES = {
    # Words of the mode, its share, and the mean number of Teacher sentences in it.
    "plus": (("adding", "gives", "so far"), 0.5, 2),
    "table": (("row", "column", "reads"), 0.3, 5),
    "back": (("undo", "check", "backwards"), 0.2, 8),
}


def candidates(questions: int = 400, each: int = 4, seed: int = 0) -> tuple[pl.DataFrame, pl.Series]:
    """CANDIDATES of three planted modes with fillers and numbers of their own, and each one's mode."""
    draw, rows, modes = random.Random(seed), [], []
    for question in range(questions):
        topic = " ".join(draw.choices(("apples", "trains", "coins", "walls", "boats"), k=6))
        for candidate in range(each):
            mode = draw.choices(list(MODES), [share for _, share, _ in MODES.values()])[0]
            words, _, mean = MODES[mode]
            sentences = draw.randint(10, 14)
            text = topic + " ".join(
                f"{draw.choice(words)} {draw.randint(1, 99)} {draw.choice(('well', 'then', 'now'))}."
                for _ in range(sentences)
            )
            teacher = max(0, min(sentences, mean + draw.randint(-2, 2)))
            rows.append(
                (
                    f"s{question}-{candidate}",
                    f"q{question}",
                    candidate,
                    text,
                    4 * sentences,
                    sentences,
                    teacher,
                )
            )
            modes.append(mode)
    names = ("sample_id", "question_id", "candidate", "text", "student_tokens", "sentences", "teacher")
    frame = pl.DataFrame(rows, schema={name: CANDIDATES.columns[name] for name in names}, orient="row")
    rest = {
        "teacher_tokens": pl.col("student_tokens"),
        "student": 0,
        "common": pl.col("sentences") - pl.col("teacher"),
        "mean_delta": 0.1,
        "teacher_mean_logprob": -0.5,
        "student_mean_logprob": -1.0,
    }
    found = frame.with_columns(
        (value if isinstance(value, pl.Expr) else pl.lit(value)).cast(CANDIDATES.columns[name]).alias(name)
        for name, value in rest.items()
    )
    return found.select(list(CANDIDATES.columns)), pl.Series("mode", modes)


def shares(modes: pl.Series) -> np.ndarray:
    return np.array([(modes == mode).mean() for mode in MODES], dtype=float)


def chosen(frame: pl.DataFrame, per_question: int = 1, seed: int = 0, **options: float) -> pl.Series:
    ranks = CoverageSelector(CoverageOptions.model_validate(options), seed).rank(frame, None)
    return choose(frame["question_id"], ranks, per_question)


def test_planted_modes_are_kept_and_teacher_sentences_gained_within_each() -> None:
    frame, modes = candidates()
    wanted = shares(modes)
    plain = choose(frame["question_id"], DivergenceSelector(DivergenceOptions()).rank(frame, None), 1)
    assert np.abs(shares(modes.filter(plain)) - wanted).max() > 0.25, "divergence narrows the mixture"
    at_random = [
        choose(frame["question_id"], RandomSelector(seed).rank(frame, None), 1) for seed in range(20)
    ]
    deviations = [np.abs(shares(modes.filter(picked)) - wanted).max() for picked in at_random]
    ours = chosen(frame)
    assert np.abs(shares(modes.filter(ours)) - wanted).max() < np.mean(deviations)
    for mode in MODES:
        inside = modes == mode
        gained = frame.filter(ours & inside)["teacher"].mean() - frame.filter(inside)["teacher"].mean()
        assert gained > 0.5, mode
    assert frame.filter(ours)["student_tokens"].mean() == pytest.approx(
        frame["student_tokens"].mean(), abs=0.5
    )


def test_the_mixture_alone_is_closer_the_weaker_teacher_sentences_count() -> None:
    frame, modes = candidates()
    found = {strength: chosen(frame, strength=strength) for strength in (0, 0.5, 4, 1e6)}
    off = [np.abs(shares(modes.filter(picked)) - shares(modes)).max() for picked in found.values()]
    teacher = [frame.filter(picked)["teacher"].mean() for picked in found.values()]
    assert off[0] < 2 / sqrt(400) / 4 and off[0] <= off[1] < off[2] < off[3]
    assert teacher == sorted(teacher) and teacher[0] < teacher[1]
    plain = choose(frame["question_id"], DivergenceSelector(DivergenceOptions()).rank(frame, None), 1)
    assert teacher[3] == frame.filter(plain)["teacher"].mean(), "without bound the count alone decides"


def test_length_is_held_unless_told_otherwise() -> None:
    frame, _ = candidates()
    frame = frame.with_columns(teacher=pl.col("sentences"))
    mean = frame["student_tokens"].mean()
    assert frame.filter(chosen(frame))["student_tokens"].mean() == pytest.approx(mean, abs=0.5)
    assert frame.filter(chosen(frame, hold_length=False))["student_tokens"].mean() > mean + 1


def test_the_order_of_rows_has_no_part_and_the_seed_has() -> None:
    frame, _ = candidates(80)
    selected = set(frame.filter(chosen(frame))["sample_id"])
    order = np.random.default_rng(1).permutation(80)
    turned = pl.concat([frame.filter(pl.col("question_id") == f"q{q}").reverse() for q in order])
    assert set(turned.filter(chosen(turned))["sample_id"]) == selected
    assert set(frame.filter(chosen(frame, seed=1))["sample_id"]) != selected


@pytest.mark.parametrize("each", [1, 2, 5])
def test_every_round_takes_one_candidate_of_each_question(each: int) -> None:
    frame, _ = candidates(30, each)
    ranks = CoverageSelector(CoverageOptions(), 0).rank(frame, None)
    by_question = frame.select("question_id", rank=ranks).group_by("question_id").agg(pl.col("rank").sort())
    assert by_question["rank"].to_list() == [[float(-n) for n in range(each - 1, -1, -1)]] * 30


def test_two_a_question_keep_the_mixture_too() -> None:
    frame, modes = candidates()
    two = chosen(frame, per_question=2)
    assert two.sum() == 800
    assert np.abs(shares(modes.filter(two)) - shares(modes)).max() < 0.02
    assert frame.filter(two)["teacher"].mean() > frame["teacher"].mean()


@pytest.mark.parametrize(
    ("texts", "teacher"),
    [
        (["", "", "", ""], [0, 0, 0, 0]),
        (["", "a b", "", "a b"], [1, 0, 1, 0]),
        (["same", "same", "same", "same"], [3, 1, 2, 2]),
        (["1 + 2", "33 + 4", "５ + 6", "_"], [0, 0, 0, 0]),
    ],
)
def test_ties_and_empty_texts(texts: Sequence[str], teacher: Sequence[int]) -> None:
    frame, _ = candidates(2, 2)
    frame = frame.with_columns(
        text=pl.Series(texts),
        teacher=pl.Series(teacher, dtype=pl.UInt32),
        student_tokens=pl.lit(5, pl.UInt32),
    )
    picked = chosen(frame)
    assert frame.filter(picked)["question_id"].to_list() == ["q0", "q1"]
    if len(set(texts)) == 1 and max(teacher):
        assert frame.filter(picked)["teacher"].to_list() == [3, 2], (
            "alike in all that is held: the count decides"
        )


def test_features_see_phrases_and_no_operands() -> None:
    rows = ngram_features(["So 9 + 3 = 12.", "so 10 + 4 = 7.", "So 9 and 3 is 12.", "", "12. = 3 + 9 So"])
    assert rows.shape == (5, WIDTH)
    np.testing.assert_allclose((rows**2).sum(axis=1), [1, 1, 1, 0, 1], rtol=1e-5)
    assert (rows[0] == rows[1]).all(), "numbers and case are folded"
    alike = rows @ rows[0]
    assert alike[2] < 0.8 and alike[4] < 0.9, "other words, and the same words in another order"
