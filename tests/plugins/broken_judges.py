"""Filters, sources and verifiers that each break one promise; run by test_suites_catch."""

from __future__ import annotations

from itertools import count
from typing import Any

import polars as pl
from tests.plugins.broken import Broken

from dasd.api import Grade, InputError, QuestionRows
from dasd.curation.sources.mini import MiniatureQuestions
from dasd.testing import FilterSuite, QuestionsSuite, VerifierSuite

# -- filters --------------------------------------------------------------------------------------------


class Filtering(Broken, FilterSuite):
    @classmethod
    def make(cls, _settings: Any, _max_length: int) -> Any:
        return cls()

    def judge(self, responses: pl.DataFrame) -> pl.DataFrame:
        kept = self.keep(responses)
        reason = pl.select(pl.when(kept).then(pl.lit("")).otherwise(pl.lit("broken"))).to_series()
        return pl.DataFrame({"kept": kept, "reason": reason, "detail": reason})

    def keep(self, responses: pl.DataFrame) -> pl.Series:
        return responses["text"] != ""


class TestJudgesTheFirst(Filtering):
    caught = ("test_every_response_gets_one_verdict", "wanted all")

    def judge(self, responses: pl.DataFrame) -> pl.DataFrame:
        return super().judge(responses)[:1]


class TestGivesNoReason(Filtering):
    caught = ("test_what_is_dropped_has_a_reason", "with reason ''")

    def judge(self, responses: pl.DataFrame) -> pl.DataFrame:
        return super().judge(responses).with_columns(reason=pl.lit(""))


class TestComparesNeighbours(Filtering):
    caught = ("test_a_verdict_does_not_depend_on_its_neighbours", "judged otherwise than among others")

    def keep(self, responses: pl.DataFrame) -> pl.Series:
        return responses["text"].str.len_bytes() < responses["text"].str.len_bytes().max()


class TestDropsTheWrongOnes(Filtering):
    caught = ("test_what_is_to_be_kept_is_kept_and_the_rest_dropped", "'fine' is dropped: broken")
    kept = ("fine",)

    def keep(self, responses: pl.DataFrame) -> pl.Series:
        return responses["text"] != "fine"


# -- sources of questions -------------------------------------------------------------------------------


class Asking(Broken, QuestionsSuite):
    @classmethod
    def make(cls) -> Any:
        made = MiniatureQuestions()
        plain = made.load
        made.load = lambda *asked: QuestionRows(cls.loaded(lambda *own: plain(*own).rows, *asked))  # type: ignore[method-assign]
        return made

    @staticmethod
    def loaded(plain: Any, source: Any, split: str, seed: int) -> pl.DataFrame:
        raise NotImplementedError


class TestAsksTwice(Asking):
    caught = ("test_rows_are_questions_of_their_split", "a question_id occurs twice")

    @staticmethod
    def loaded(plain: Any, source: Any, split: str, seed: int) -> pl.DataFrame:
        rows = plain(source, split, seed)
        return pl.concat([rows, rows[:1]])


class TestIgnoresTheCount(Asking):
    caught = ("test_the_count_is_kept", "more questions than count = 3")

    @staticmethod
    def loaded(plain: Any, source: Any, split: str, seed: int) -> pl.DataFrame:
        return plain(source.model_copy(update={"count": 5}), split, seed)


class TestAsksByTheClock(Asking):
    caught = ("test_the_same_seed_gives_the_same_questions", "split train")
    seeds = count()

    @staticmethod
    def loaded(plain: Any, source: Any, split: str, _seed: int) -> pl.DataFrame:
        return plain(source, split, next(TestAsksByTheClock.seeds))


class TestAsksTheSameInBoth(Asking):
    caught = ("test_training_and_evaluation_share_no_question", "in both splits")

    @staticmethod
    def loaded(plain: Any, source: Any, split: str, seed: int) -> pl.DataFrame:
        return plain(source, "train", seed).with_columns(split=pl.lit(split))


class TestNamesAnUnknownVerifier(Asking):
    caught = ("test_verifiers_are_known_and_have_an_answer", "verifier 'nobody:x'")

    @staticmethod
    def loaded(plain: Any, source: Any, split: str, seed: int) -> pl.DataFrame:
        return plain(source, split, seed).with_columns(verifier=pl.lit("nobody:x"))


class TestHasNoAnswer(Asking):
    caught = ("test_verifiers_are_known_and_have_an_answer", "and no answer")

    @staticmethod
    def loaded(plain: Any, source: Any, split: str, seed: int) -> pl.DataFrame:
        return plain(source, split, seed).with_columns(answer=pl.lit(None, pl.String))


# -- verifiers ------------------------------------------------------------------------------------------


class Verifying(Broken, VerifierSuite):
    right = (("7", "7", ""),)
    wrong = (("8", "7", ""),)

    @classmethod
    def make(cls) -> Any:
        return cls()

    def grade(self, response: str, answer: str, argument: str) -> Grade:
        return Grade(response == answer, response)


class TestFindsNothing(Verifying):
    caught = ("test_right_responses_are_right", "nothing was extracted")

    def grade(self, response: str, answer: str, argument: str) -> Grade:
        return Grade(response == answer, None)


class TestIsAlwaysContent(Verifying):
    caught = ("test_wrong_responses_are_wrong", "'8' counts as right")

    def grade(self, response: str, answer: str, argument: str) -> Grade:
        return Grade(True, response)


class TestStumbles(Verifying):
    caught = ("test_whatever_a_model_writes_gets_a_grade", "InputError: an empty response")

    def grade(self, response: str, answer: str, argument: str) -> Grade:
        if not response:
            raise InputError("an empty response")
        return super().grade(response, answer, argument)


class TestTossesACoin(Verifying):
    caught = ("test_the_same_response_gets_the_same_grade", "'7': {")
    tosses = count()

    def grade(self, response: str, answer: str, argument: str) -> Grade:
        return Grade(next(self.tosses) % 2 == 0, response)


class TestReturnsATruthValue(Verifying):
    caught = ("test_right_responses_are_right", "wanted a Grade")

    def grade(self, response: str, answer: str, argument: str) -> Any:
        return response == answer
