"""The suite of an evaluator: the miniature models answer sums."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import ClassVar

import polars as pl
import pytest

from dasd.api import (
    EVAL,
    ContinueRequest,
    EvalSpec,
    Evaluator,
    InputError,
    ModelInfo,
    SampleRequest,
    SamplingSpec,
    ScoreRequest,
    ScoringSpec,
    Teacher,
)
from dasd.plugins.components import Role
from dasd.recipe.model_settings import ModelSettings
from dasd.testing.rows import questions
from dasd.testing.suite import ComponentSuite

__all__ = ["EvaluatorSuite"]

QUESTIONS = 12
MAX_TOKENS = 140


class _Counting:
    """A model that counts what it is asked for."""

    def __init__(self, inner: Teacher) -> None:
        self._inner = inner
        self.asked = 0

    @property
    def info(self) -> ModelInfo:
        return self._inner.info

    def sample(self, requests: Sequence[SampleRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        self.asked += len(requests)
        return self._inner.sample(requests, spec)

    def continue_(self, requests: Sequence[ContinueRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        self.asked += len(requests)
        return self._inner.continue_(requests, spec)

    def score(self, requests: Sequence[ScoreRequest], spec: ScoringSpec) -> Iterator[pl.DataFrame]:
        self.asked += len(requests)
        return self._inner.score(requests, spec)

    def close(self) -> None:
        pass


class EvaluatorSuite(ComponentSuite):
    """Set ``name``. The miniature teacher, which is right most of the time, is what is evaluated."""

    role: ClassVar[Role] = "evaluator"
    model: ClassVar[str] = "dasd:mini-teacher"
    grades_by_verifier: ClassVar[bool] = True
    """Whether answers are graded by their question's own ``verifier`` and ``answer``."""

    @classmethod
    def make_evaluator(cls) -> Evaluator:
        """The evaluator, through the registry, which checks every frame that it yields."""
        return cls.registry().make_evaluator(cls.name, cls.make_options(cls.directory()))

    @classmethod
    def evaluated(cls) -> Teacher:
        """The model under evaluation, opened once."""
        settings = ModelSettings(model=cls.model, precision="fp32", device="cpu", batch_size=64)
        make = cls.registry().make_teacher
        return cls._once("model", lambda ends: ends.enter_context(closing(make(settings))))

    def rows(
        self,
        asked: pl.DataFrame,
        *,
        attempts: int = 2,
        seed: int = 1,
        done: frozenset[tuple[str, int]] = frozenset(),
        model: Teacher | None = None,
    ) -> pl.DataFrame:
        """EVAL rows of one evaluation, in order of question and attempt."""
        told: list[int] = []
        spec = EvalSpec("sums", attempts, 1.0, 1.0, MAX_TOKENS, seed, 8, told.append, done=done)
        frames = list(self.make_evaluator().evaluate(model or self.evaluated(), asked, spec))
        rows = pl.concat([EVAL.empty(), *frames])
        assert sum(told) == rows.height, f"on_rows was told of {sum(told)} rows; {rows.height} were yielded"
        return rows.sort("question_id", "attempt")

    def test_every_attempt_at_every_question_is_one_row(self) -> None:
        """Neither lost nor doubled; attempts are counted from 0."""
        got = self.rows(questions(QUESTIONS), attempts=3).select("question_id", "attempt").rows()
        wanted = sorted((f"question-{q}", a) for q in range(QUESTIONS) for a in range(3))
        assert got == wanted, "wanted one row a question and attempt"

    def test_no_questions_give_no_rows(self) -> None:
        """An empty benchmark is no error."""
        assert self.rows(questions(0)).height == 0, "rows without questions"

    def test_rows_say_what_was_asked_and_how_it_ended(self) -> None:
        """Benchmark, the answer's text, its tokens within the cap, and the time that it took."""
        rows = self.rows(questions(QUESTIONS))
        benchmarks = rows["benchmark"].unique().to_list()
        assert benchmarks == ["sums"], f"benchmark {benchmarks}; wanted the spec's, 'sums'"
        assert rows["tokens"].is_between(1, MAX_TOKENS).all(), f"tokens: {rows['tokens'].to_list()}"
        assert set(rows["finish_reason"]) <= {"stop", "length"}, f"finish_reason {set(rows['finish_reason'])}"
        assert (rows["text"] != "").any(), "every text is empty"
        assert (rows["seconds"] >= 0).all(), f"seconds: {rows['seconds'].to_list()}"

    def test_right_answers_are_right_and_wrong_ones_wrong(self) -> None:
        """The miniature teacher solves most sums; with another expected answer the same texts are wrong."""
        right = self.rows(questions(QUESTIONS))
        assert right["correct"].mean() > 0.5, f"{right['correct'].sum()} of {right.height} are right"  # type: ignore[operator]
        if self.grades_by_verifier:
            wrong = self.rows(questions(QUESTIONS, answer="-999"))
            assert not wrong["correct"].any(), "answers are right although another one was expected"
            assert wrong["text"].equals(right["text"]), "the expected answer changes what the model is asked"
            verifier = self.registry().make_verifier("miniature")
            answers = dict(questions(QUESTIONS).select("question_id", "answer").iter_rows())
            for question, text, correct in right.select("question_id", "text", "correct").iter_rows():
                graded = verifier.grade(text, answers[question], "").correct
                assert not correct or graded, f"{question}: {text!r} counts as right, its verifier says wrong"

    def test_the_seed_decides_the_answers(self) -> None:
        """The same seed gives the same rows, another seed others."""
        first, again, other = (self.rows(questions(QUESTIONS), seed=seed) for seed in (1, 1, 2))
        assert again["text"].equals(first["text"]), "the same seed gave other answers"
        assert again["correct"].equals(first["correct"]), "the same answers were graded otherwise"
        assert not other["text"].equals(first["text"]), "another seed gave the same answers"

    def test_an_attempt_does_not_depend_on_how_many_there_are(self) -> None:
        """The first attempt at a question is the same among one and among three."""
        one = self.rows(questions(QUESTIONS), attempts=1)
        three = self.rows(questions(QUESTIONS), attempts=3).filter(pl.col("attempt") == 0)
        assert three["text"].equals(one["text"]), "the first attempts differ between 1 and 3 attempts"

    def test_what_is_done_is_not_generated_again(self) -> None:
        """Of an interrupted evaluation only the rest is given, as it would have been, and only it is asked for."""
        asked = questions(QUESTIONS)
        whole = self.rows(asked)
        done = frozenset(list(whole.select("question_id", "attempt").iter_rows())[::3])
        rest = self.rows(asked, done=done)
        wanted = whole.filter(
            ~pl.Series([key in done for key in whole.select("question_id", "attempt").rows()])
        )
        assert (
            rest.select("question_id", "attempt").rows() == wanted.select("question_id", "attempt").rows()
        ), "wanted exactly the attempts that are not in done"
        assert rest["text"].equals(wanted["text"]), "the rest reads otherwise than without an interruption"
        everything = frozenset(whole.select("question_id", "attempt").iter_rows())
        model = _Counting(self.evaluated())
        assert self.rows(asked, done=everything, model=model).height == 0, "rows although everything is done"
        assert model.asked == 0, f"the model was asked {model.asked} times although everything is done"

    def test_attempts_differ(self) -> None:
        """At temperature 1 the attempts at a question are draws of their own."""
        rows = self.rows(questions(QUESTIONS), attempts=3)
        assert rows.group_by("question_id").agg(pl.col("text").n_unique())["text"].max() != 1, (
            "all attempts are the same"
        )

    def test_a_question_that_cannot_be_graded_is_named(self) -> None:
        """InputError with its id, before anything is sampled."""
        if self.grades_by_verifier:
            asked = questions(3).with_columns(
                verifier=pl.when(pl.col("question_id") != "question-1").then("verifier")
            )
            with pytest.raises(InputError, match="question-1"):
                self.rows(asked)
