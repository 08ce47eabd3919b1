"""From the student's answers and the teacher's scores of them to ON_POLICY_TRAIN rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from dasd.base.records import Message
from dasd.base.schemas import ON_POLICY_TRAIN
from dasd.models.tokens.chat import ChatTokenizer
from dasd.models.tokens.think_opening import Reading
from dasd.plugins.recipe import Recipe
from dasd.training.spans import Spans

__all__ = ["OwnRowMaker", "Told", "given_rows"]

_OWN = ("sample_id", "question_id", "text", "finish_reason", "token_ids", "token_ends", "logprobs")


@dataclass
class Told:
    """Counts over the rows that were made."""

    tokens: int = 0
    """That the student wrote."""
    untold: int = 0
    """Of these not trained on: the teacher's prompt holds them, or it has other tokens there."""
    spread: int = 0
    """Of these in a span of several tokens, which all get the span's weight."""
    too_long: int = 0
    """Rows left out, as prompt and answer are over the training context."""


class OwnRowMaker:
    """Rows of one round. The tokens are those that were sampled, behind the prompt that they were sampled behind."""

    def __init__(
        self, recipe: Recipe, messages: Mapping[str, Sequence[Message]], stage: str, max_length: int
    ) -> None:
        self._chat = ChatTokenizer.load(recipe.settings.student)
        self._back = Reading.of(recipe.settings.teacher, recipe.settings.student, self._chat).back()
        self._messages = messages
        self._stage = stage
        self._max_length = max_length
        self.told = Told()

    def rows(self, answers: pl.DataFrame, scores: pl.DataFrame) -> pl.DataFrame:
        """ON_POLICY_TRAIN rows, in the order of ``answers``, of those that were scored.

        ``answers``: SAMPLES of the student. ``scores``: SCORES or TOP_SCORES of the teacher, ``token_ends`` in the
        student's text (``Reading.scored``). With TOP_SCORES only tokens that are the teacher's too are trained on.
        """
        answers = answers.select(_OWN)
        shared = self._back.shared(answers).get_column("token_ids").list.len()
        held = answers.get_column("token_ids").list.len().cast(pl.Int64) - shared.cast(pl.Int64)
        theirs = scores.select(pl.col("sample_id"), pl.exclude("sample_id", "model").name.prefix("their_"))
        rows = answers.with_columns(held=held).join(theirs, on="sample_id", maintain_order="left")
        made = [row for each in rows.iter_rows(named=True) if (row := self._row(each)) is not None]
        return pl.DataFrame(made, schema=dict(ON_POLICY_TRAIN.columns), orient="row")

    def _row(self, row: Mapping[str, Any]) -> tuple[object, ...] | None:
        prompt = self._chat.prompt_ids(self._messages[row["question_id"]])
        tokens = np.asarray(row["token_ids"], dtype=np.int64)
        if len(prompt) + len(tokens) > self._max_length:
            self.told.too_long += 1
            return None
        held: int = row["held"]
        sampled = np.asarray(row["logprobs"], dtype=np.float64)
        spans = Spans.of(
            row["token_ends"][held:], row["their_token_ends"], ended=row["finish_reason"] == "stop"
        )
        own, theirs = spans.sums(sampled[held:], row["their_logprobs"])
        sizes, their_sizes = spans.sizes
        known = np.concatenate([np.zeros(held, bool), (their_sizes > 0)[spans.own_N]])
        weights = np.concatenate([np.zeros(held), (theirs - own)[spans.own_N]])
        top: tuple[npt.NDArray[Any] | None, ...] = (None, None)
        if "their_top_ids" in row:
            place = np.full(spans.count, -1)
            place[spans.theirs_M] = np.arange(len(spans.theirs_M))
            alone = ((sizes == 1) & (their_sizes == 1))[spans.own_N]
            their_ids = np.asarray(row["their_token_ids"], dtype=np.int64)
            known[held:] &= alone & (their_ids[place[spans.own_N]] == tokens[held:])
            chosen = place[spans.own_N][known[held:]]
            width = len(row["their_top_ids"]) // len(their_ids)
            top = tuple(
                np.asarray(row[name]).reshape(len(their_ids), width)[chosen].ravel()
                for name in ("their_top_ids", "their_top_logprobs")
            )
        else:
            self.told.spread += int(((sizes > 1) | (their_sizes > 1))[spans.own_N].sum())
        self.told.tokens += len(tokens)
        self.told.untold += int((~known).sum())
        if not known.any():
            return None
        runs = _runs(np.concatenate([np.zeros(len(prompt), bool), known]))
        values = (sampled[known], weights[known], *top)
        return (
            *(row["sample_id"], [*prompt, *row["token_ids"]], runs, 1.0, self._stage),
            *(None if each is None else each.tolist() for each in values),
        )


def given_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """TRAIN rows, the teacher's own, as ON_POLICY_TRAIN rows that are trained by cross-entropy."""
    nothing = [
        pl.lit(None, kind).alias(name)
        for name, kind in ON_POLICY_TRAIN.columns.items()
        if name in ON_POLICY_TRAIN.nullable
    ]
    return rows.with_columns(nothing).select(list(ON_POLICY_TRAIN.columns))


def _runs(trained: npt.NDArray[np.bool_]) -> list[int]:
    """Run lengths, masked first, of one bool a token."""
    changes = np.flatnonzero(np.diff(trained)) + 1
    runs: list[int] = np.diff([0, *changes, len(trained)]).tolist()
    return [0, *runs] if len(trained) and trained[0] else runs
