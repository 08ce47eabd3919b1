"""From a row of (uuid, input, output, domain, meta) to a row of responses; what is wrong is a ValueError."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from dasd.base.schemas import DRAW, QUESTIONS, SAMPLES
from dasd.curation.sources.rows import first_of, messages_of, text_of
from dasd.models.tokens.think_opening import USUAL

__all__ = ["RESPONSES", "response_row", "tokens_of"]

RESPONSES: dict[str, Any] = {
    "sample_id": pl.String,
    "question_id": pl.String,
    "messages": QUESTIONS.columns["messages"],
    "text": pl.String,
    "domain": pl.String,
    "answer": pl.String,
    "verifier": pl.String,
    **{name: SAMPLES.columns[name] for name in (*DRAW, "token_ids", "logprobs", "logprobs_mode")},
}
"""Columns of the file that is written: those that ``stages[].samples`` and ``dasd select FILE`` know."""

ID_COLUMNS = ("uuid", "sample_uuid", "sample_id", "id")
QUESTION_COLUMNS = ("messages", "input", "question", "prompt", "problem")
TEXT_COLUMNS = ("output", "response", "text")


def _or_none(value: object, check: ValidatorFunctionWrapHandler) -> object:
    try:
        return check(value)
    except ValidationError:
        return None


_OF_ITS_KIND = WrapValidator(_or_none)
_Text = Annotated[str | None, _OF_ITS_KIND]


class _Meta(BaseModel):
    """What ``dasd export --to text`` writes beside a text; all else is None."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, protected_namespaces=())

    question_id: _Text = None
    answer: _Text = None
    verifier: _Text = None
    candidate: Annotated[Annotated[int, Field(ge=0, lt=2**32)] | None, _OF_ITS_KIND] = None
    temperature: Annotated[Annotated[float, Field(ge=0, le=100)] | None, _OF_ITS_KIND] = None
    top_p: Annotated[Annotated[float, Field(ge=1e-9, le=1)] | None, _OF_ITS_KIND] = None
    seed: Annotated[Annotated[int, Field(ge=0, lt=2**64)] | None, _OF_ITS_KIND] = None
    finish_reason: Annotated[Literal["stop", "length"] | None, _OF_ITS_KIND] = None
    model: _Text = None
    model_revision: _Text = None
    engine: _Text = None
    engine_version: _Text = None


def response_row(value: Mapping[str, object]) -> dict[str, Any]:
    """A row with the keys of RESPONSES, without tokens. ValueError says what is missing or of a wrong kind.

    ``meta``: an object, or its JSON; of it the keys that ``dasd export --to text`` writes count, as far as they
    are of their kind. A meta of another make is passed over.
    """
    meta = _meta(value.get("meta"))
    identifier = identifier_of(value)
    text = first_of(value, TEXT_COLUMNS, "response")
    if not isinstance(text, str) or not text:
        raise ValueError("no response: wanted a text that is not empty")
    # The tag stands in the text for people; the teacher's own response begins behind it.
    text = text.removeprefix(_opened(meta.get("think_opened")))
    question = meta["messages"] if "messages" in meta else first_of(value, QUESTION_COLUMNS, "question")
    messages = messages_of(question)
    return {
        "sample_id": identifier,
        "messages": [{"role": turn.role, "content": turn.content} for turn in messages],
        "text": text,
        "domain": text_of(value.get("domain"), "domain"),
        **_Meta.model_validate(meta).model_dump(),
        "token_ids": None,
        "logprobs": None,
        "logprobs_mode": None,
    }


def logprobs_mode(value: Mapping[str, object]) -> str | None:
    """What a row's meta says of the log-probabilities that belong to it: "raw", "processed" or nothing."""
    mode = _meta(value.get("meta")).get("logprobs_mode")
    return mode if mode in ("raw", "processed") else None


def identifier_of(value: Mapping[str, object]) -> str:
    """The row's uuid. ValueError if there is none."""
    found = text_of(first_of(value, ID_COLUMNS, "id"), "uuid")
    if not found:
        raise ValueError("its uuid is empty")
    return found


def tokens_of(value: Mapping[str, object]) -> tuple[list[int], list[float]]:
    """``token_ids`` and ``logprobs`` of a row. ValueError where they are absent or not of one length."""
    tokens, logprobs = value.get("token_ids"), value.get("logprobs")
    if not isinstance(tokens, list) or not isinstance(logprobs, list):
        raise ValueError("its log-probabilities can't be used: wanted lists token_ids and logprobs")
    if len(tokens) != len(logprobs):
        raise ValueError(f"{len(tokens)} token_ids and {len(logprobs)} logprobs; wanted as many of each")
    if not all(type(token) is int and 0 <= token < 2**32 for token in tokens):
        raise ValueError("token_ids: wanted whole numbers from 0")
    if not all(isinstance(number, float | int) and not isinstance(number, bool) for number in logprobs):
        raise ValueError("logprobs: wanted numbers")
    return tokens, [float(number) for number in logprobs]


def _meta(cell: object) -> Mapping[str, object]:
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except (ValueError, RecursionError):
            return {}
    return cell if isinstance(cell, dict) else {}


def _opened(cell: object) -> str:
    """What the prompt held of the text; earlier versions wrote ``true``, for the usual tag."""
    return cell if isinstance(cell, str) else USUAL if cell is True else ""
