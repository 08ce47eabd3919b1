"""From a row of a user's file to a row of SAMPLES; what is wrong with it is a ``ValueError`` with the reason."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Annotated, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dasd.base.id_numbers import IdNumbers
from dasd.base.records import Message
from dasd.curation.sources.rows import QUESTION_COLUMNS, first_of, messages_of, question_id
from dasd.models.tokens.chat import ChatTokenizer
from dasd.models.tokens.think_opening import OPEN, behind_tag, prompt_opening
from dasd.pipeline.work.requests import sample_id
from dasd.plugins.checked_rows import HIGHEST_LOGPROB
from dasd.recipe.problems import describe

__all__ = ["GivenReader", "GivenRow"]

TEXT_COLUMNS = ("text", "response", "output")
ID_COLUMNS = ("sample_id", "sample_uuid")


class GivenRow(BaseModel):
    """The columns that count; others are not looked at, and a null is as good as no column."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    text: str
    sample_id: str | int | None = None
    candidate: int | None = Field(None, ge=0, lt=2**32)
    token_ids: list[Annotated[int, Field(ge=0, lt=2**32)]] | None = None
    logprobs: list[float] | None = None
    logprobs_mode: Literal["raw", "processed"] = "raw"
    temperature: float = Field(ge=0, allow_inf_nan=False)
    top_p: float = Field(gt=0, le=1)
    seed: int = Field(0, ge=0, lt=2**64)
    finish_reason: Literal["stop", "length"] = "stop"
    model: str
    model_revision: str = ""
    engine: str = "file"
    engine_version: str = ""

    @classmethod
    def of(cls, value: Mapping[str, object], defaults: Mapping[str, object]) -> GivenRow:
        """Check a row. ValueError names the first column that is wrong."""
        present = {**defaults, **{name: cell for name, cell in value.items() if cell is not None}}
        for column, names in (("text", TEXT_COLUMNS), ("sample_id", ID_COLUMNS)):
            found = next((name for name in names if name in present), None)
            if found is not None:
                present[column] = present[found]
        if "text" not in present:
            raise ValueError(
                f"no response: wanted a column {' or '.join(TEXT_COLUMNS)}, got {', '.join(value) or 'none'}"
            )
        try:
            return cls.model_validate(present)
        except ValidationError as error:
            raise ValueError(describe(error, cls)[0].strip()) from error


class GivenReader:
    """Reads responses of one off-policy stage. What a row doesn't say is the stage's, as for sampled ones."""

    def __init__(
        self,
        questions: Iterable[pl.DataFrame],
        set_aside: pl.DataFrame,
        system_prompt: str | None,
        chat: ChatTokenizer,
        stage: str,
        defaults: Mapping[str, object],
        teacher: str,
    ) -> None:
        """``questions``: QUESTIONS of both splits, some at a time, with the recipe's ``system_prompt``;
        ``set_aside``: SET_ASIDE, those that are asked by nobody, with the reason; ``chat``: the
        teacher's tokenizer; ``defaults``: temperature, top_p and model; ``teacher``: the default model's
        part of a response's identity."""
        self._system_prompt = system_prompt
        self._chat = chat
        self._opening = prompt_opening(chat)
        self._stage = stage
        self._defaults = defaults
        self._teacher = teacher
        self._ids, self._contents = IdNumbers(), IdNumbers()
        self._with_content = array("I")
        """Number of the question that has each content."""
        self._trained = array("B")
        names = [pl.Series(dtype=pl.String)]
        for rows in questions:
            names.append(rows.get_column("question_id"))
            for identifier, cell, split in rows.select("question_id", "messages", "split").iter_rows():
                self._ids.add(identifier)
                content = self._contents.add(self._content(messages_of(cell)))
                if content is None:
                    self._with_content.append(len(self._trained))
                else:
                    self._with_content[content] = len(self._trained)
                self._trained.append(split == "train")
        self._names = pl.concat(names)
        self._aside: dict[str, str] = {}
        for identifier, cell, reason, detail in (
            set_aside.filter(pl.col("split") == "train")
            .select("question_id", "messages", "reason", "detail")
            .iter_rows()
        ):
            for name in (identifier, self._content(messages_of(cell))):
                self._aside.setdefault(name, f"{reason}, {detail}")

    @property
    def questions(self) -> int:
        """Number of questions, of both splits."""
        return len(self._names)

    def question(self, value: Mapping[str, object]) -> int:
        """The number of the training question that a row answers, by its messages or else its id."""
        if any(value.get(column) is not None for column in QUESTION_COLUMNS):
            named = self._content(messages_of(first_of(value, QUESTION_COLUMNS)))
            content = self._contents.find(named)
            found = None if content is None else self._with_content[content]
        elif value.get("question_id") is not None:
            named = str(value["question_id"])
            found = self._ids.find(named)
        else:
            raise ValueError(
                f"no question: wanted a column question_id or {' or '.join(QUESTION_COLUMNS)}, got "
                f"{', '.join(value) or 'none'}"
            )
        if found is None and named in self._aside:
            raise ValueError(f"its question is set aside: {self._aside[named]}")
        if found is None:
            raise ValueError("its question is not among the recipe's training questions")
        if not self._trained[found]:
            raise ValueError("its question is an evaluation question of the recipe")
        return found

    def sample(self, value: Mapping[str, object], candidate: int) -> tuple[dict[str, object], bool]:
        """A row for a frame of SAMPLES, and whether it was freed of a think tag that the prompt holds already.

        ``candidate`` numbers a response that has no number of its own. ``logprobs`` is None where the row has
        none; its tokens are then the row's, or the tokenizer's own.
        """
        row = GivenRow.of(value, self._defaults)
        question = self._names[self.question(value)]
        number = candidate if row.candidate is None else row.candidate
        text = behind_tag(row.text, self._opening)
        token_ids, token_ends, logprobs = self._tokens(row, text)
        model = self._teacher if row.model == self._defaults["model"] else row.model
        found: dict[str, object] = {
            "sample_id": sample_id(question, model, row.temperature, number, row.seed)
            if row.sample_id in (None, "")
            else str(row.sample_id),
            "question_id": question,
            "stage": self._stage,
            "candidate": number,
            "text": text,
            "token_ids": token_ids,
            "token_ends": token_ends,
            "logprobs": logprobs,
            "logprobs_mode": row.logprobs_mode if row.logprobs is not None else "raw",
            "temperature": row.temperature,
            "top_p": row.top_p,
            "seed": row.seed,
            "finish_reason": row.finish_reason,
            "prefix_end": 0,
            "model": row.model,
            "model_revision": row.model_revision,
            "tokenizer_hash": self._chat.hash,
            "engine": row.engine,
            "engine_version": row.engine_version,
        }
        return found, text != row.text

    def _content(self, messages: Sequence[Message]) -> str:
        """Identity of a conversation with or without the recipe's system prompt before it."""
        own = messages[0].role == "system" and messages[0].content == self._system_prompt
        return question_id(messages[1:] if own else messages)

    def _tokens(
        self, row: GivenRow, text: str
    ) -> tuple[Sequence[int], Sequence[int], Sequence[float] | None]:
        """Token ids, the bytes where they end, and log-probabilities if there are any, of ``text``.

        Tokens tile the text; the end token covers none of it. ``text`` is the row's, or the rest of it behind a
        think tag, whose tokens are left out then.
        """
        _check_logprobs(row)
        if row.token_ids is None:
            return *self._chat.encode_response(text, ended=row.finish_reason == "stop"), None
        ids, ends = self._given_tokens(row, row.token_ids)
        held = len(row.text.encode()) - len(text.encode())
        skip = sum(end <= held for end in ends[: len(ends) - self._chat.is_control(ids[-1])]) if held else 0
        if held and (not skip or ends[skip - 1] != held):
            raise ValueError(
                f"token_ids: the teacher's prompt ends with {OPEN} too, and no token ends where that tag of the text "
                "does, so it can't be taken off; wanted a response without it"
            )
        logprobs = row.logprobs
        return ids[skip:], [end - held for end in ends[skip:]], None if logprobs is None else logprobs[skip:]

    def _given_tokens(self, row: GivenRow, ids: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
        """The row's tokens and the bytes of its text where they end."""
        ended = bool(ids) and self._chat.is_control(ids[-1])
        body = ids[:-1] if ended else ids
        beyond = max(ids, default=0)
        if beyond >= self._chat.vocab_size:
            raise ValueError(
                f"token_ids: {beyond} is no token of the teacher's tokenizer, which has {self._chat.vocab_size}"
            )
        decoded = self._chat.decode(body)
        if decoded != row.text:
            place = next(
                (i for i, (a, b) in enumerate(zip(decoded, row.text, strict=False)) if a != b),
                min(len(decoded), len(row.text)),
            )
            raise ValueError(
                "token_ids: in the teacher's tokenizer their bytes are not the text; they part at character "
                f"{place}: {decoded[place : place + 12]!r} for {row.text[place : place + 12]!r}"
            )
        ends = self._chat.ends_of(body, row.text)
        return ids, [*ends, len(row.text.encode())] if ended else ends


def _check_logprobs(row: GivenRow) -> None:
    if row.logprobs is None:
        return
    if row.token_ids is None:
        raise ValueError("logprobs without token_ids; wanted both or neither")
    if len(row.logprobs) != len(row.token_ids):
        raise ValueError(
            f"{len(row.token_ids)} token_ids and {len(row.logprobs)} logprobs; wanted as many of each"
        )
    for place, number in enumerate(row.logprobs):
        if not isfinite(number) or number > HIGHEST_LOGPROB:
            raise ValueError(f"logprobs.{place}: wanted the logarithm of a probability, got {number}")
