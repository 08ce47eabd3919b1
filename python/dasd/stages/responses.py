"""Responses as filters see them, and the verdict of the first filter that drops each."""

from __future__ import annotations

import polars as pl

from dasd.chat import ChatTokenizer
from dasd.filters import wanted_filters
from dasd.recipe import Recipe
from dasd.registry import Registry
from dasd.stages.grading import Grader, answers_by_question
from dasd.stages.turns import teacher_opens_thinking
from dasd.stages.work import messages_by_question

__all__ = ["Judge", "reasons"]


class Judge:
    """A recipe's filters, for one training context.

    Filters judge one after the other, each only what is still left, so the costly ones (the answer) see few.
    """

    def __init__(
        self, recipe: Recipe, registry: Registry, max_length: int, questions: pl.LazyFrame, stage: str
    ) -> None:
        settings = recipe.settings.filters
        self._stage = stage
        self._filters = [
            (name, registry.make_filter(name, settings, max_length)) for name in wanted_filters(settings)
        ]
        self._chat = ChatTokenizer.load(recipe.settings.student)
        self._opened = teacher_opens_thinking(recipe.settings.teacher)
        self._grader = Grader(registry)
        self._answers = answers_by_question(questions)
        self._messages = messages_by_question(questions)
        self._prompt_tokens: dict[str, int] = {}

    def verdicts(self, samples: pl.DataFrame) -> pl.DataFrame:
        """VERDICTS rows for SAMPLES rows, in order."""
        left = self._as_responses(samples).with_row_index("row")
        reason = [""] * samples.height
        detail = [""] * samples.height
        for name, judge in self._filters:
            if name == "answer":
                left = left.with_columns(
                    correct=self._grader.correct_rows(
                        left.select("question_id", "text").iter_rows(), self._answers
                    )
                )
            verdicts = judge.judge(left.drop("row"))
            keeps = verdicts.get_column("kept")
            lost = verdicts.filter(~keeps).iter_rows()
            for row, (_, slug, words) in zip(left.filter(~keeps).get_column("row"), lost, strict=True):
                reason[row], detail[row] = slug or name, words
            left = left.filter(keeps)
        return pl.DataFrame(
            {
                "sample_id": samples.get_column("sample_id"),
                "stage": pl.Series([self._stage] * samples.height, dtype=pl.String),
                "kept": pl.Series([not slug for slug in reason], dtype=pl.Boolean),
                "reason": pl.Series(reason, dtype=pl.String),
                "detail": pl.Series(detail, dtype=pl.String),
            }
        )

    def _as_responses(self, samples: pl.DataFrame) -> pl.DataFrame:
        """SAMPLES columns, and those that ``dasd.api.Filter`` promises besides."""
        questions = samples.get_column("question_id").to_list()
        answers = [self._answers.get(question, (None, None)) for question in questions]
        tokens = [
            self._chat.encode_response(text, ended=finish == "stop")[0]
            for text, finish in samples.select("text", "finish_reason").iter_rows()
        ]
        return samples.with_columns(
            pl.Series("student_token_ids", tokens, dtype=pl.List(pl.UInt32)),
            pl.Series("prompt_tokens", [self._prompt(question) for question in questions], dtype=pl.UInt32),
            pl.Series("answer", [answer for answer, _ in answers], dtype=pl.String),
            pl.Series("verifier", [verifier for _, verifier in answers], dtype=pl.String),
            pl.Series("correct", [None] * samples.height, dtype=pl.Boolean),
            pl.lit(self._opened).alias("think_opened"),
        )

    def _prompt(self, question: str) -> int:
        if question not in self._prompt_tokens:
            self._prompt_tokens[question] = len(self._chat.prompt_ids(self._messages[question]))
        return self._prompt_tokens[question]


def reasons(verdicts: pl.LazyFrame) -> dict[str, int]:
    """How many responses were dropped for each reason, the most frequent first."""
    counts = (
        verdicts.filter(~pl.col("kept"))
        .group_by("reason")
        .len()
        .collect()
        .sort("len", "reason", descending=[True, False])
    )
    return {reason: int(count) for reason, count in counts.rows()}
