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

_Array = npt.NDArray[Any]

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
        self._prompts: dict[str, _Array] = {}
        self.told = Told()

    def rows(self, answers: pl.DataFrame, scores: pl.DataFrame) -> pl.DataFrame:
        """ON_POLICY_TRAIN rows, in the order of ``answers``, of those that were scored.

        ``answers``: SAMPLES of the student. ``scores``: SCORES or TOP_SCORES of the teacher, ``token_ends`` in the
        student's text (``Reading.scored``). With TOP_SCORES only tokens that are the teacher's too are trained on.
        """
        self._prompts.clear()  # those of one call: a question's answers come together
        theirs = scores.select(pl.col("sample_id"), pl.exclude("sample_id", "model").name.prefix("their_"))
        rows = answers.select(_OWN).join(theirs, on="sample_id", how="inner", maintain_order="left")
        shared = self._back.shared(rows.select(_OWN)).get_column("token_ids").list.len()
        lists = {name: _arrays(rows.get_column(name)) for name in rows.columns if rows[name].dtype == pl.List}
        made: list[dict[str, Any]] = []
        for place, (sample_id, question, reason) in enumerate(
            rows.select("sample_id", "question_id", "finish_reason").iter_rows()
        ):
            of = {name: arrays[place] for name, arrays in lists.items()}
            row = self._row(question, of, len(of["token_ids"]) - int(shared[place]), ended=reason == "stop")
            if row is not None:
                made.append({"sample_id": sample_id, "weight": 1.0, "stage": self._stage, **row})
        return _frame(made)

    def _row(
        self, question: str, row: Mapping[str, _Array], held: int, *, ended: bool
    ) -> dict[str, _Array | None] | None:
        """``held``: tokens of the student's at the beginning that the teacher's prompt holds."""
        prompt = self._prompt(question)
        tokens = row["token_ids"]
        if len(prompt) + len(tokens) > self._max_length:
            self.told.too_long += 1
            return None
        sampled = row["logprobs"].astype(np.float64)
        spans = Spans.of(row["token_ends"][held:], row["their_token_ends"], ended=ended)
        own, theirs = spans.sums(sampled[held:], row["their_logprobs"])
        sizes, their_sizes = spans.sizes
        known = np.concatenate([np.zeros(held, bool), (their_sizes > 0)[spans.own_N]])
        weights = np.concatenate([np.zeros(held), (theirs - own)[spans.own_N]])
        top: dict[str, _Array | None] = {"top_ids": None, "top_logprobs": None}
        if "their_top_ids" in row:
            place = np.full(spans.count, -1)
            place[spans.theirs_M] = np.arange(len(spans.theirs_M))
            alone = ((sizes == 1) & (their_sizes == 1))[spans.own_N]
            known[held:] &= alone & (row["their_token_ids"][place[spans.own_N]] == tokens[held:])
            chosen = place[spans.own_N][known[held:]]
            count = len(row["their_token_ids"])
            top = {name: row[f"their_{name}"].reshape(count, -1)[chosen].ravel() for name in top}
        else:
            self.told.spread += int(((sizes > 1) | (their_sizes > 1))[spans.own_N].sum())
        self.told.tokens += len(tokens)
        self.told.untold += int((~known).sum())
        if not known.any():
            return None
        return {
            "token_ids": np.concatenate([prompt, tokens]),
            "loss_mask": _runs(np.concatenate([np.zeros(len(prompt), bool), known])),
            "sampled_logprobs": sampled[known],
            "token_weights": weights[known],
            **top,
        }

    def _prompt(self, question: str) -> _Array:
        if question not in self._prompts:
            self._prompts[question] = np.asarray(self._chat.prompt_ids(self._messages[question]))
        return self._prompts[question]


def _arrays(lists: pl.Series) -> list[_Array]:
    """Each list, none of which is empty, as a part of one array: no value becomes an object of Python's."""
    flat = lists.explode().to_numpy()
    return np.split(flat, np.cumsum(lists.list.len().to_numpy())[:-1]) if len(lists) else []


def _frame(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    columns = {}
    for name, kind in ON_POLICY_TRAIN.columns.items():
        values = [row[name] for row in rows]
        if isinstance(kind, pl.List):
            # A series of series: with a dtype polars goes through all values one by one.
            values = [None if each is None else pl.Series(each) for each in values]
            columns[name] = (pl.Series(name, values) if rows else pl.Series(name, [])).cast(kind)
        else:
            columns[name] = pl.Series(name, values, dtype=kind)
    return pl.DataFrame(columns)


def given_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """TRAIN rows, the teacher's own, as ON_POLICY_TRAIN rows that are trained by cross-entropy."""
    nothing = [
        pl.lit(None, kind).alias(name)
        for name, kind in ON_POLICY_TRAIN.columns.items()
        if name in ON_POLICY_TRAIN.nullable
    ]
    return rows.with_columns(nothing).select(list(ON_POLICY_TRAIN.columns))


def _runs(trained: npt.NDArray[np.bool_]) -> _Array:
    """Run lengths, masked first, of one bool a token."""
    changes = np.flatnonzero(np.diff(trained)) + 1
    runs = np.diff([0, *changes, len(trained)])
    return np.concatenate([[0], runs]) if len(trained) and trained[0] else runs
