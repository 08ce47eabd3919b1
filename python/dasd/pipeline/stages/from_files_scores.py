"""The teacher's own log-probabilities for responses that lie in files without them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from dasd.base.records import Message, ScoringSpec
from dasd.base.schemas import SAMPLES
from dasd.errors import InputError
from dasd.models.tokens.chat import ChatTokenizer
from dasd.models.tokens.think_opening import Reading, ToScore
from dasd.plugins.roles import OpenedTeacher

__all__ = ["Given", "with_scores"]

FRAME = 256
"""Rows that need no engine are given on in frames of this size."""


@dataclass(frozen=True, slots=True)
class Given:
    """A response as a file has it, a row of SAMPLES; ``logprobs`` may be None."""

    row: Mapping[str, object]

    @property
    def sample_id(self) -> str:
        """Of the row."""
        return str(self.row["sample_id"])

    @property
    def frame(self) -> pl.DataFrame:
        """The row alone."""
        return pl.DataFrame([self.row], schema=dict(SAMPLES.columns))


def with_scores(
    teacher: OpenedTeacher,
    given: Iterable[Given],
    chat: ChatTokenizer,
    messages: Mapping[str, Sequence[Message]],
    spec: ScoringSpec,
) -> Iterator[pl.DataFrame]:
    """SAMPLES rows, those without log-probabilities with the teacher's own tokens and theirs.

    Those that are longer than its context come as they are: the length filter is there to drop them.
    """
    own = Reading("", "")  # the teacher reads its own responses
    ready: list[Mapping[str, object]] = []
    bare: dict[str, Given] = {}

    def asked() -> Iterator[ToScore]:
        for each in given:
            tokens = _prompt_tokens(chat, messages[str(each.row["question_id"])]) + len(_ids(each))
            if each.row["logprobs"] is not None or tokens > teacher.info.context_length:
                ready.append(each.row)
                continue
            bare[each.sample_id] = each
            yield from own.to_score(each.frame, messages)

    def copied() -> Iterator[pl.DataFrame]:
        while ready:
            rows, ready[:] = ready[:FRAME], ready[FRAME:]
            yield pl.DataFrame(rows, schema=dict(SAMPLES.columns))

    for scores in own.scored(teacher, asked(), spec):
        yield from copied()
        rows = pl.DataFrame(
            [bare.pop(sample_id).row for sample_id in scores["sample_id"]], schema=dict(SAMPLES.columns)
        )
        yield rows.with_columns(scores.select("token_ids", "token_ends", "logprobs"))
    yield from copied()


def _ids(given: Given) -> Sequence[int]:
    ids = given.row["token_ids"]
    assert isinstance(ids, Sequence)
    return ids


def _prompt_tokens(chat: ChatTokenizer, messages: Sequence[Message]) -> int:
    """0 for a conversation that can't be rendered: the engine says why, and refuses it."""
    try:
        return len(chat.prompt_ids(messages))
    except InputError:
        return 0
