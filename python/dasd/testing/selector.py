"""The suite of a selector: ranks of candidates, by whatever they go."""

from __future__ import annotations

from contextlib import closing
from typing import ClassVar

import numpy as np
import polars as pl

from dasd.api import CANDIDATES, Selector, SelectSettings, Teacher
from dasd.pipeline.stages.select import choose
from dasd.plugins.components import Role
from dasd.recipe.model_settings import ModelSettings
from dasd.testing.rows import candidates
from dasd.testing.suite import ComponentSuite

__all__ = ["SelectorSuite"]

SEED = 3
COMPARED = ("teacher", "student", "common", "mean_delta", "teacher_mean_logprob")
"""Columns that come from the teacher's log-probabilities."""

TOKENS_OF = {"teacher_mean_logprob": "teacher_tokens", "student_mean_logprob": "student_tokens"}
"""What each mean log-probability is a mean over."""


class SelectorSuite(ComponentSuite):
    """Set ``name``; ``options`` where it has some."""

    role: ClassVar[Role] = "selector"
    draws: ClassVar[bool] = False
    """Whether it draws by the seed, so that equal candidates may have unequal ranks."""
    by_neighbours: ClassVar[bool] = False
    """Whether a rank depends on the order or on the other questions, as where lengths are matched."""
    mixes_tokens: ClassVar[bool] = False
    """Whether it means to scale a mean log-probability by tokens that the mean isn't over."""
    student: ClassVar[str] = "dasd:mini-student"
    """The model that a selector with ``needs_student`` scores texts with."""

    @classmethod
    def make_selector(cls, seed: int = SEED) -> Selector:
        """The selector, through the registry, which checks type and number of its ranks."""
        options = dict(cls.make_options(cls.directory()))
        return cls.registry().make_selector(SelectSettings(selector=cls.name, options=options), seed)

    @classmethod
    def opened_student(cls) -> Teacher:
        """The student, opened once."""
        settings = ModelSettings(model=cls.student, precision="fp32", device="cpu")
        make = cls.registry().make_teacher
        return cls._once("student", lambda ends: ends.enter_context(closing(make(settings))))

    @classmethod
    def ranked(cls, rows: pl.DataFrame, seed: int = SEED) -> pl.Series:
        """Ranks of CANDIDATES rows by a selector made anew."""
        selector = cls.make_selector(seed)
        return selector.rank(rows, cls.opened_student() if selector.needs_student else None)

    def test_every_candidate_gets_one_rank(self) -> None:
        """One Float64 a row, in order; most are numbers, so that most questions keep a response."""
        rows = candidates()
        ranks = self.ranked(rows)
        chosen = choose(rows["question_id"], ranks, 1)
        assert chosen.sum() == rows["question_id"].n_unique(), (
            f"a question has no rank that is a number: {ranks}"
        )

    def test_a_window_may_be_empty_or_hold_one_candidate(self) -> None:
        """No rows, or one candidate of one question."""
        for rows in (CANDIDATES.empty(), candidates(1, 1)):
            ranks = self.ranked(rows)
            assert len(ranks) == rows.height, f"{len(ranks)} ranks of {rows.height} candidates"

    def test_the_candidates_are_left_as_they_are(self) -> None:
        """The frame that it gets is used afterwards."""
        rows = candidates()
        self.ranked(rows)
        assert rows.equals(candidates()), "rank changed the frame of candidates that it was given"

    def test_the_same_seed_gives_the_same_ranks(self) -> None:
        """A repeated run selects the same; only a selector that draws depends on the seed."""
        rows = candidates()
        first, again, other = self.ranked(rows), self.ranked(rows), self.ranked(rows, SEED + 1)
        assert again.equals(first, null_equal=True), "the same seed gave other ranks"
        assert other.equals(first) is not self.draws, (
            "another seed gave the same ranks" if self.draws else "ranks depend on the seed: set draws = True"
        )

    def test_a_rank_goes_with_its_candidate(self) -> None:
        """Candidates in another order, or of fewer questions, have the ranks that they had."""
        if self.by_neighbours:
            return
        rows = candidates()
        rows = rows.with_columns(rank=self.ranked(rows))
        order = np.random.default_rng(1).permutation(rows["question_id"].n_unique())
        shuffled = pl.concat([rows.filter(pl.col("question_id") == f"question-{q}").reverse() for q in order])
        for how, asked in (("in another order", shuffled), ("of fewer questions", rows.head(8))):
            got = self.ranked(asked.drop("rank"))
            wrong = asked.filter(~np.isclose(got, asked["rank"], rtol=1e-4, atol=1e-5, equal_nan=True))
            assert wrong.is_empty(), f"{how}, {wrong['sample_id'].to_list()} have other ranks"

    def test_equal_candidates_have_equal_ranks(self) -> None:
        """A tie is a tie: the host takes the earlier row."""
        if self.draws:
            return
        twins = candidates(1, 1)
        rows = pl.concat(
            [twins, twins.with_columns(sample_id=pl.lit("sample-0-1"), candidate=pl.lit(1, pl.UInt32))]
        )
        ranks = self.ranked(rows).to_list()
        assert ranks[0] == ranks[1], f"two candidates that only differ in sample_id have the ranks {ranks}"

    def test_a_mean_is_not_divided_by_tokens_again(self) -> None:
        """``*_mean_logprob`` is a mean over that model's tokens: times them it is a sum, any other scaling is wrong.

        Doubling both a mean and a number of tokens tells: what each does alone adds up unless the two multiply.
        """
        if self.mixes_tokens:
            return
        for mean, own in TOKENS_OF.items():
            for tokens in TOKENS_OF.values():
                plain, more, longer, both = (
                    self.ranked(candidates().with_columns(pl.col(names) * 2)).to_numpy()
                    for names in ([], [mean], [tokens], [mean, tokens])
                )
                together = both - more - longer + plain
                effect = more - plain
                close = 1e-4 * np.maximum(np.abs(plain), 1e-9)
                summed = (together * effect > 0) & (tokens == own)
                wrong = (np.abs(together) > close) & ~summed
                assert not wrong.any(), (
                    f"ranks scale {mean} by {tokens}: it is a mean over {own} already, in nats a token; "
                    f"the sum is {mean} * {own} (mixes_tokens = True if you mean it)"
                )

    def test_what_it_does_not_need_has_no_part(self) -> None:
        """Without ``needs_logprobs``, ranks don't depend on what comes from the teacher's log-probabilities."""
        if self.component().needs_logprobs:
            return
        rows = candidates()
        nothing = [
            pl.lit(
                None if name in CANDIDATES.nullable else 0 if name != "teacher_mean_logprob" else float("nan")
            )
            .cast(CANDIDATES.columns[name])
            .alias(name)
            for name in COMPARED
        ]
        assert self.ranked(rows.with_columns(nothing)).equals(self.ranked(rows), null_equal=True), (
            f"ranks depend on one of {', '.join(COMPARED)}: register the selector with needs_logprobs=True"
        )
