"""From responses to TRAIN rows: the prompt masked, the response and its end token trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from dasd.base.drawn_ids import drawn_ids
from dasd.base.frames import kept_samples
from dasd.base.id_set import IdSet
from dasd.base.records import Message
from dasd.base.schemas import TRAIN
from dasd.models.tokens.chat import ChatTokenizer
from dasd.models.tokens.think_opening import Reading
from dasd.plugins.recipe import Recipe

__all__ = ["RowMaker", "balance_ids"]


class RowMaker:
    """Renders responses with the student's chat template, as the student is prompted when it answers."""

    def __init__(
        self, recipe: Recipe, messages: Mapping[str, Sequence[Message]], stage: str, train_prefix: bool = True
    ) -> None:
        self._chat = ChatTokenizer.load(recipe.settings.student)
        self._reading = Reading.of(recipe.settings.teacher, recipe.settings.student, self._chat)
        self._messages = messages
        self._stage = stage
        self._train_prefix = train_prefix
        self._prompts: dict[str, list[int]] = {}

    def rows(self, samples: pl.DataFrame) -> pl.DataFrame:
        """TRAIN rows for SAMPLES rows, in order.

        Without ``train_prefix`` the tokens that lie in the first ``prefix_end`` bytes, which the student
        itself wrote, are masked like the prompt.
        """
        self._prompts.clear()  # those of one call: a question's responses come together
        made = [
            self._row(*row)
            for row in samples.select(
                "sample_id", "question_id", "text", "finish_reason", "prefix_end"
            ).iter_rows()
        ]
        return pl.DataFrame(made, schema=dict(TRAIN.columns), orient="row")

    def _row(
        self, sample_id: str, question: str, text: str, finish_reason: str, prefix_end: int
    ) -> tuple[str, list[int], list[int], float, str]:
        prompt = self._prompt(question)
        view = self._reading.view(text)
        ended = finish_reason == "stop"
        response, ends = self._chat.encode_response(view.text, ended=ended)
        given = 0 if self._train_prefix else view.offset(prefix_end)
        masked = sum(end <= given for end in ends) if given else 0
        # The end token covers no bytes, so it may end where the prefix does; it is the teacher's all the same.
        masked = min(masked, len(response) - ended)
        mask = [len(prompt) + masked, len(response) - masked]
        return sample_id, prompt + response, mask, 1.0, self._stage

    def _prompt(self, question: str) -> list[int]:
        if question not in self._prompts:
            self._prompts[question] = self._chat.prompt_ids(self._messages[question])
        return self._prompts[question]


def balance_ids(verdicts: pl.LazyFrame, count: int, seed: int) -> IdSet:
    """At most ``count`` of the off-policy samples that were selected, drawn by the seed.

    ``verdicts``: of their selection.
    """
    return drawn_ids(kept_samples(verdicts), count, "balance", seed)
