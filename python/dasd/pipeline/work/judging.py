"""Responses as filters see them, and the verdict of the first filter that drops each."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from dasd.base.schemas import SAMPLES
from dasd.curation.filters import wanted_filters
from dasd.models.tokens.chat import ChatTokenizer
from dasd.models.tokens.think_opening import CLOSE, OPEN, Reading
from dasd.pipeline.work.grading import Grader
from dasd.pipeline.work.units import verdict_rows
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry
from dasd.store.question_lookup import QuestionLookup

__all__ = ["Judge", "reasons"]

_NEEDED = ("sample_id", "question_id", "text", "token_ids", "finish_reason", "tokenizer_hash")
"""Columns of SAMPLES that the built-in filters look at."""
_NEAR = 7 / 8
"""Part of the training context from which the number of tokens is that of the tokenizer, not of sampling."""


class Judge:
    """A recipe's filters, for one training context.

    Filters judge one after the other, each only what is still left, so the costly ones (the answer) see few.
    """

    columns: tuple[str, ...]
    """What ``verdicts`` needs of SAMPLES: all of it where a plugin's filter is among them."""

    def __init__(
        self, recipe: Recipe, registry: Registry, max_length: int, questions: QuestionLookup, stage: str
    ) -> None:
        settings = recipe.settings.filters
        self._stage = stage
        self._filters = [
            (name, registry.make_filter(name, settings, max_length)) for name in wanted_filters(settings)
        ]
        self.columns = tuple(SAMPLES.columns) if settings.extra else _NEEDED
        self._max_length = max_length
        self._chat = ChatTokenizer.load(recipe.settings.student)
        self._reading = Reading.of(recipe.settings.teacher, recipe.settings.student, self._chat)
        self._grader = Grader(registry)
        self._answers = questions.answers
        self._messages = questions.messages

    @property
    def unknown(self) -> str | None:
        """What isn't known of the teacher's prompts, a sentence; None where all is."""
        if self._reading.author is not None:
            return None
        return (
            f"the tokenizer of the teacher isn't here, so it isn't known whether its prompts end with {OPEN}: "
            f"a response that holds {CLOSE} and no {OPEN} is taken to begin behind it"
        )

    def verdicts(self, samples: pl.DataFrame) -> pl.DataFrame:
        """VERDICTS rows for rows with ``columns`` of SAMPLES, in order."""
        left = self._as_responses(samples).with_row_index("row")
        reason = [""] * samples.height
        detail = [""] * samples.height
        for name, judge in self._filters:
            if name != "truncated" and "student_token_ids" not in left.columns:
                left = self._tokenised(left)  # the costly column, for what is not cut off
            if name == "answer":
                left = left.with_columns(
                    correct=self._grader.correct_rows(
                        left.select("question_id", "text").iter_rows(), self._answers
                    )
                )
            verdicts = judge.judge(left.drop("row"))
            keeps = verdicts.get_column("kept")
            if keeps.all():
                continue
            lost = verdicts.filter(~keeps).iter_rows()
            for row, (_, slug, words) in zip(left.filter(~keeps).get_column("row"), lost, strict=True):
                reason[row], detail[row] = slug or name, words
            left = left.filter(keeps)
        return verdict_rows(samples.get_column("sample_id"), self._stage, reason, detail)

    def _as_responses(self, samples: pl.DataFrame) -> pl.DataFrame:
        """SAMPLES columns, and those that ``dasd.api.Filter`` promises besides, less the student's tokens."""
        questions = samples.get_column("question_id").to_list()
        answers = [self._answers.get(question, (None, None)) for question in questions]
        prompts = self._prompt_tokens(questions)
        opened = [bool(self._reading.opened(text)) for text in samples.get_column("text")]
        return samples.with_columns(
            pl.Series("prompt_tokens", prompts, dtype=pl.UInt32),
            pl.Series("answer", [answer for answer, _ in answers], dtype=pl.String),
            pl.Series("verifier", [verifier for _, verifier in answers], dtype=pl.String),
            pl.lit(None, pl.Boolean).alias("correct"),
            pl.Series("think_opened", opened, dtype=pl.Boolean),
        )

    def _tokenised(self, responses: pl.DataFrame) -> pl.DataFrame:
        """With ``student_token_ids``, of the text as the student reads it: as sampled, where its tokenizer sampled.

        Sampling may write a text in fewer tokens than the tokenizer would, and training takes the tokenizer's:
        responses that come near the training context are tokenised, so that none is kept that is over it.
        """
        length = pl.col("token_ids").list.len() + pl.col("prompt_tokens")
        sampled = responses.select(
            (pl.col("tokenizer_hash") == self._chat.hash) & (length <= self._max_length * _NEAR)
        ).to_series()
        tokens = responses.get_column("token_ids")
        if not sampled.all():
            others = responses.filter(~sampled)
            ended = (others.get_column("finish_reason") == "stop").to_list()
            texts = self._reading.texts(others.get_column("text"))
            ids = self._chat.encode_responses(texts.to_list(), ended)
            encoded = pl.Series("token_ids", ids, dtype=pl.List(pl.UInt32))
            where = pl.concat([sampled.arg_true(), (~sampled).arg_true()])
            tokens = pl.concat([tokens.filter(sampled), encoded]).gather(where.arg_sort())
        return responses.with_columns(tokens.alias("student_token_ids"))

    def _prompt_tokens(self, questions: Sequence[str]) -> list[int]:
        asked = list(dict.fromkeys(questions))
        prompts = self._chat.prompts_ids([self._messages[question] for question in asked])
        counts = dict(zip(asked, map(len, prompts), strict=True))
        return [counts[question] for question in questions]


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
