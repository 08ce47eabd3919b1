"""From a row of (uuid, input, output, domain, meta) to a row of responses; what is wrong is a ValueError."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

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
        "question_id": _kept(meta, "question_id", str),
        "messages": [{"role": turn.role, "content": turn.content} for turn in messages],
        "text": text,
        "domain": text_of(value.get("domain"), "domain"),
        "answer": _kept(meta, "answer", str),
        "verifier": _kept(meta, "verifier", str),
        **{name: check(meta.get(name)) for name, check in _META.items()},
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


def _kept(meta: Mapping[str, object], name: str, kind: type) -> object:
    found = meta.get(name)
    return found if isinstance(found, kind) else None


def _text(value: object) -> object:
    return value if isinstance(value, str) else None


def _whole(bits: int) -> Callable[[object], object]:
    return lambda value: value if type(value) is int and 0 <= value < 2**bits else None


def _number(lowest: float, highest: float) -> Callable[[object], object]:
    def check(value: object) -> object:
        known = isinstance(value, float | int) and not isinstance(value, bool)
        return float(value) if known and lowest <= value <= highest else None  # type: ignore[operator,arg-type]

    return check


def _finish(value: object) -> object:
    return value if value in ("stop", "length") else None


_META: Mapping[str, Callable[[object], object]] = {
    "candidate": _whole(32),
    "temperature": _number(0, 100),
    "top_p": _number(1e-9, 1),
    "seed": _whole(64),
    "finish_reason": _finish,
    "model": _text,
    "model_revision": _text,
    "engine": _text,
    "engine_version": _text,
}
