"""Selectors: which candidate each prefers, against plain references."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.stage_run import make_registry

from dasd.api import CANDIDATES, PluginError, ScoreRequest, ScoringSpec
from dasd.base.schemas import SCORES
from dasd.curation.selectors.by_column import (
    DivergenceOptions,
    DivergenceSelector,
    beyond_length,
)
from dasd.curation.selectors.lengths import LengthMatchedSelector, RandomSelector
from dasd.curation.selectors.likelihood import NaturalnessOptions, NaturalnessSelector
from dasd.errors import RecipeError
from dasd.pipeline.stages.select import choose
from dasd.recipe.curation_settings import SelectSettings


def candidates(
    questions: Sequence[str], tokens: Sequence[int], teacher: Sequence[int], text: Sequence[str] | None = None
) -> pl.DataFrame:
    count = len(questions)
    return pl.DataFrame(
        {
            "sample_id": [f"s{row}" for row in range(count)],
            "question_id": list(questions),
            "candidate": list(range(count)),
            "text": list(text) if text is not None else ["x"] * count,
            "teacher_tokens": list(tokens),
            "student_tokens": list(tokens),
            "sentences": [10] * count,
            "teacher": list(teacher),
            "student": [0] * count,
            "common": [10 - t for t in teacher],
            "mean_delta": [0.1] * count,
            "teacher_mean_logprob": [-0.5] * count,
            "student_mean_logprob": [-t / 10 for t in teacher],
        },
        schema=dict(CANDIDATES.columns),
    )


def picks(frame: pl.DataFrame, ranks: pl.Series) -> list[int]:
    return choose(frame["question_id"], ranks, 1).arg_true().to_list()


FRAME = candidates("aaabbb", [30, 50, 40, 9, 8, 7], [5, 2, 5, 0, 1, 0])


def test_counts() -> None:
    divergence = DivergenceSelector(DivergenceOptions())
    assert picks(FRAME, divergence.rank(FRAME, None)) == [0, 4], "ties go to the earlier row"
    ranks = {
        name: make_registry().make_selector(SelectSettings(selector=name), 0).rank(FRAME, None)
        for name in ("fewest", "ratio", "longest", "grape")
    }
    assert picks(FRAME, ranks["fewest"]) == [1, 3]
    assert ranks["ratio"].to_list() == [0.5, 0.2, 0.5, 0.0, 0.1, 0.0]
    assert picks(FRAME, ranks["longest"]) == [1, 3]
    assert picks(FRAME, ranks["grape"]) == [1, 3]


@given(st.lists(st.tuples(st.integers(1, 1000), st.integers(0, 50)), min_size=1, max_size=30))
def test_beyond_length_is_the_residual_of_a_line(pairs: list[tuple[int, int]]) -> None:
    x, y = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    got = beyond_length(pl.Series(y), pl.Series(x)).to_numpy()
    if len(set(x)) > 1:
        design = np.stack([np.ones_like(x), x], axis=1)
        wanted = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    else:
        wanted = y - y.mean()
    np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_length_control_forgives_length() -> None:
    frame = candidates("aabbcc", [10, 100, 10, 100, 10, 100], [1, 10, 1, 10, 3, 10])
    plain = DivergenceSelector(DivergenceOptions())
    controlled = DivergenceSelector(DivergenceOptions(length_control=True))
    assert picks(frame, plain.rank(frame, None)) == [1, 3, 5]
    assert picks(frame, controlled.rank(frame, None))[2] == 4


def test_random_depends_on_sample_and_seed_alone() -> None:
    ranks = RandomSelector(1).rank(FRAME, None)
    turned = FRAME.reverse()
    assert RandomSelector(1).rank(turned, None).reverse().to_list() == ranks.to_list()
    assert RandomSelector(2).rank(FRAME, None).to_list() != ranks.to_list()
    many = candidates([f"q{n // 4}" for n in range(4000)], [1] * 4000, [0] * 4000)
    chosen = Counter(row % 4 for row in picks(many, RandomSelector(0).rank(many, None)))
    assert min(chosen.values()) > 200, "each of four candidates about 250 times"


def test_length_matched_has_the_length_ranks_of_divergence_and_not_its_picks() -> None:
    draw = np.random.default_rng(0)
    tokens = draw.permuted(np.tile(np.arange(10, 50, 10), (500, 1)), axis=1)
    teacher = draw.integers(0, 5, size=(500, 4)) + tokens // 20
    frame = candidates([f"q{n // 4}" for n in range(2000)], tokens.ravel().tolist(), teacher.ravel().tolist())
    theirs = picks(frame, DivergenceSelector(DivergenceOptions()).rank(frame, None))
    ours = picks(frame, LengthMatchedSelector(0).rank(frame, None))
    assert Counter(frame["student_tokens"][theirs]) == Counter(frame["student_tokens"][ours])
    agreement = np.mean([a == b for a, b in zip(theirs, ours, strict=True)])
    shares = np.array(list(Counter(frame["student_tokens"][theirs]).values())) / 500
    assert agreement == pytest.approx((shares**2).sum(), abs=0.08), "no more often than by chance"


class WordStudent:
    """Finds every word worth -1, and -5 if it is 'odd'; tokens are words with the space before them."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def score(self, requests: Sequence[ScoreRequest], spec: ScoringSpec) -> Iterator[pl.DataFrame]:
        for request in requests:
            self.seen.append(request.text)
            words = request.text.replace(" ", "\0 ").split("\0")
            ends = np.cumsum([len(word.encode()) for word in words]).tolist()
            logprobs = [-5.0 if "odd" in word else -1.0 for word in words]
            row = (request.sample_id, "words", list(range(len(words))), ends, logprobs)
            yield pl.DataFrame([row], schema=dict(SCORES.columns), orient="row")


def test_naturalness_scores_each_sentence_with_a_window_before_it() -> None:
    frame = candidates("ab", [1, 1], [0, 0], ["One is fine. Two is odd. Three is fine.", ""])
    student = WordStudent()
    selector = NaturalnessSelector(NaturalnessOptions(window=1))
    ranks = selector.rank(frame, student)  # type: ignore[arg-type]
    assert selector.needs_student
    assert [text.strip() for text in student.seen] == [
        "One is fine.",
        "One is fine. Two is odd.",
        "Two is odd. Three is fine.",
    ]
    # A sentence holds the blank behind it, which is a token of its own where the text ends: the second
    # sentence has the tokens ' Two', ' is', ' odd.' and ' '.
    assert ranks[0] == pytest.approx((-1 - 8 / 4 - 1) / 3)
    assert np.isnan(ranks[1])
    with pytest.raises(PluginError, match="student"):
        selector.rank(frame, None)


def test_selectors_are_registered_with_their_options() -> None:
    registry = make_registry()
    names = registry.names("selector")
    assert len(names) == 9
    for name in names:
        assert registry.component("selector", name).doc
        made = registry.make_selector(SelectSettings(selector=name), 0)
        if not made.needs_student:
            assert made.rank(FRAME, None).len() == FRAME.height
            assert made.rank(FRAME.clear(), None).len() == 0
    with pytest.raises(RecipeError):
        registry.make_selector(SelectSettings(selector="longest", options={"window": 1}), 0)


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.one_of(st.none(), st.just(float("nan")), st.floats(-9, 9)))
    ),
    st.integers(1, 3),
)
def test_choose_takes_the_best_of_each_question(rows: list[tuple[str, float | None]], count: int) -> None:
    questions = pl.Series([question for question, _ in rows], dtype=pl.String)
    ranks = pl.Series([rank for _, rank in rows], dtype=pl.Float64)
    wanted = set()
    for question in "abc":
        mine = [(-r, i) for i, (q, r) in enumerate(rows) if q == question and r is not None and r == r]
        wanted |= {i for _, i in sorted(mine)[:count]}
    assert set(choose(questions, ranks, count).arg_true()) == wanted
