"""Evaluators and selectors that each break one promise; run by test_suites_catch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any, ClassVar

import polars as pl
from tests.plugins.broken import Broken

from dasd.api import EvalSpec
from dasd.evaluation.verifier_evaluator import VerifierEvaluator
from dasd.testing import EvaluatorSuite, SelectorSuite


class Evaluating(Broken, EvaluatorSuite):
    Mine: ClassVar[type[VerifierEvaluator]]

    @classmethod
    def make(cls, registry: Any) -> VerifierEvaluator:
        return cls.Mine(registry)


class Altered(VerifierEvaluator):
    def alter(self, rows: pl.DataFrame) -> pl.DataFrame:
        return rows

    def spec(self, spec: EvalSpec) -> EvalSpec:
        return spec

    def evaluate(self, model: Any, questions: pl.DataFrame, spec: EvalSpec) -> Iterator[pl.DataFrame]:
        for rows in super().evaluate(model, questions, self.spec(spec)):
            yield self.alter(rows)


class TestLosesAnAttempt(Evaluating):
    caught = ("test_every_attempt_at_every_question_is_one_row", "on_rows was told of 36 rows; 35 were")

    class Mine(Altered):
        def alter(self, rows: pl.DataFrame) -> pl.DataFrame:
            lost = (pl.col("question_id") == "question-3") & (pl.col("attempt") == 1)
            return rows.filter(~lost)


class TestKeepsTheBest(Evaluating):
    caught = ("test_every_attempt_at_every_question_is_one_row", "one row a question and attempt")

    class Mine(Altered):
        def spec(self, spec: EvalSpec) -> EvalSpec:
            return replace(spec, attempts=1)


class TestCountsAttemptsFromOne(Evaluating):
    caught = ("test_every_attempt_at_every_question_is_one_row", "that nobody asked for")

    class Mine(Altered):
        def alter(self, rows: pl.DataFrame) -> pl.DataFrame:
            return rows.with_columns(pl.col("attempt") + 1)


class TestCountsCharactersAsTokens(Evaluating):
    caught = ("test_rows_say_what_was_asked_and_how_it_ended", "tokens: [")

    class Mine(Altered):
        def alter(self, rows: pl.DataFrame) -> pl.DataFrame:
            return rows.with_columns(tokens=pl.col("text").str.len_bytes() * 2)


class TestFindsEverythingRight(Evaluating):
    caught = ("test_right_answers_are_right_and_wrong_ones_wrong", "another one was expected")

    class Mine(Altered):
        def alter(self, rows: pl.DataFrame) -> pl.DataFrame:
            return rows.with_columns(correct=pl.lit(True))


class TestFindsEverythingWrong(Evaluating):
    caught = ("test_right_answers_are_right_and_wrong_ones_wrong", "0 of 24 are right")

    class Mine(Altered):
        def alter(self, rows: pl.DataFrame) -> pl.DataFrame:
            return rows.with_columns(correct=pl.lit(False))


class TestSeedsByTheClock(Evaluating):
    caught = ("test_the_seed_decides_the_answers", "gave other answers")

    class Mine(Altered):
        seeds = count()

        def spec(self, spec: EvalSpec) -> EvalSpec:
            return replace(spec, seed=next(self.seeds))


class TestSeedsByTheNumberOfAttempts(Evaluating):
    caught = ("test_an_attempt_does_not_depend_on_how_many_there_are", "between 1 and 3 attempts")

    class Mine(Altered):
        def spec(self, spec: EvalSpec) -> EvalSpec:
            return replace(spec, seed=spec.seed + spec.attempts)


class TestGeneratesWhatIsDone(Evaluating):
    caught = ("test_what_is_done_is_not_generated_again", "done already")

    class Mine(Altered):
        def spec(self, spec: EvalSpec) -> EvalSpec:
            return replace(spec, done=frozenset())


class TestAsksAgainAndForgets(Evaluating):
    caught = ("test_what_is_done_is_not_generated_again", "the model was asked 24 times")

    class Mine(Altered):
        def evaluate(self, model: Any, questions: pl.DataFrame, spec: EvalSpec) -> Iterator[pl.DataFrame]:
            quiet = replace(spec, done=frozenset(), on_rows=lambda _: None)
            for rows in super().evaluate(model, questions, quiet):
                fresh = [key not in spec.done for key in rows.select("question_id", "attempt").rows()]
                kept = rows.filter(pl.Series(fresh, dtype=pl.Boolean))
                yield kept
                spec.on_rows(kept.height)


class TestDrawsNothing(Evaluating):
    caught = ("test_attempts_differ", "all attempts are the same")

    class Mine(Altered):
        def spec(self, spec: EvalSpec) -> EvalSpec:
            return replace(spec, temperature=0.0)


class TestPassesOverTheUngradable(Evaluating):
    caught = ("test_a_question_that_cannot_be_graded_is_named", "DID NOT RAISE")

    class Mine(Altered):
        def evaluate(self, model: Any, questions: pl.DataFrame, spec: EvalSpec) -> Iterator[pl.DataFrame]:
            yield from super().evaluate(model, questions.drop_nulls("verifier"), spec)


# -- selectors ------------------------------------------------------------------------------------------


class Selecting(Broken, SelectorSuite):
    needs_student = False

    @classmethod
    def make(cls, _settings: Any, seed: int) -> Any:
        made = cls()
        made.seed = seed
        return made

    def rank(self, candidates: pl.DataFrame, student: Any) -> pl.Series:
        raise NotImplementedError


class TestRanksInWholeNumbers(Selecting):
    caught = ("test_every_candidate_gets_one_rank", "wanted a series of 48 Float64")

    def rank(self, candidates: pl.DataFrame, student: Any) -> pl.Series:
        return candidates["student_tokens"]


class TestRanksNothing(Selecting):
    caught = ("test_every_candidate_gets_one_rank", "has no rank that is a number")

    def rank(self, candidates: pl.DataFrame, student: Any) -> pl.Series:
        return candidates.select(
            pl.lit(float("nan")).repeat_by(1).explode().repeat_by(pl.len()).explode()
        ).to_series()


class TestWantsAFirstRow(Selecting):
    caught = ("test_a_window_may_be_empty_or_hold_one_candidate", "IndexError")

    def rank(self, candidates: pl.DataFrame, student: Any) -> pl.Series:
        return candidates["student_tokens"].cast(pl.Float64) - candidates["student_tokens"][0]


class TestWritesIntoTheFrame(Selecting):
    caught = ("test_the_candidates_are_left_as_they_are", "changed the frame")

    def rank(self, candidates: pl.DataFrame, student: Any) -> pl.Series:
        candidates.insert_column(0, candidates["student_tokens"].cast(pl.Float64).alias("mine"))
        return candidates["mine"]


class TestDrawsUndeclared(Selecting):
    caught = ("test_the_same_seed_gives_the_same_ranks", "set draws = True")

    def rank(self, candidates: pl.DataFrame, student: Any) -> pl.Series:
        return candidates["student_tokens"].cast(pl.Float64) + self.seed


class TestDrawsWithoutTheSeed(Selecting):
    caught = ("test_the_same_seed_gives_the_same_ranks", "the same seed gave other ranks")
    calls = count()

    def rank(self, candidates: pl.DataFrame, student: Any) -> pl.Series:
        return candidates["student_tokens"].cast(pl.Float64) + next(self.calls)


class TestRanksByPlace(Selecting):
    caught = ("test_a_rank_goes_with_its_candidate", "in another order")

    def rank(self, candidates: pl.DataFrame, student: Any) -> pl.Series:
        return candidates.with_row_index("row")["row"].cast(pl.Float64)


class TestRanksAgainstTheWindow(Selecting):
    caught = ("test_a_rank_goes_with_its_candidate", "of fewer questions")

    def rank(self, candidates: pl.DataFrame, student: Any) -> pl.Series:
        return candidates["student_tokens"].rank() / candidates.height


class TestDividesAMeanByTheOthersTokens(Selecting):
    caught = ("test_a_mean_is_not_divided_by_tokens_again", "scale teacher_mean_logprob by student_tokens")

    def rank(self, candidates: pl.DataFrame, student: Any) -> pl.Series:
        return candidates.select(
            (pl.col("teacher_mean_logprob") / pl.col("student_tokens")).cast(pl.Float64)
        ).to_series()


class TestDividesAMeanTwice(Selecting):
    caught = ("test_a_mean_is_not_divided_by_tokens_again", "a mean over student_tokens already")

    def rank(self, candidates: pl.DataFrame, student: Any) -> pl.Series:
        return candidates.select(
            (pl.col("student_mean_logprob") / pl.col("student_tokens")).cast(pl.Float64)
        ).to_series()


class TestBreaksTies(Selecting):
    caught = ("test_equal_candidates_have_equal_ranks", "only differ in sample_id")

    def rank(self, candidates: pl.DataFrame, student: Any) -> pl.Series:
        return candidates["candidate"].cast(pl.Float64)


class TestComparesUndeclared(Selecting):
    caught = ("test_what_it_does_not_need_has_no_part", "register the selector with needs_logprobs=True")

    def rank(self, candidates: pl.DataFrame, student: Any) -> pl.Series:
        return candidates["teacher"].cast(pl.Float64)
