"""From a user's row to a row of QUESTIONS; what is wrong with a row is a ``ValueError`` with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from dasd.base.records import Message
from dasd.base.schemas import QUESTIONS
from dasd.base.seeds import digest
from dasd.recipe.verifier_settings import VerifierSettings

__all__ = [
    "QUESTION_COLUMNS",
    "first_of",
    "messages_of",
    "question_id",
    "question_row",
    "questions_frame",
    "text_of",
]

QUESTION_COLUMNS = ("messages", "question", "prompt", "input", "problem")
"""Columns of a user's file that may hold the question, the first that does counts."""

_ROLES = ("system", "user", "assistant")


def question_row(
    messages: Sequence[Message],
    *,
    identifier: str | None,
    domain: str,
    answer: str | None,
    verifier: str | None,
    source: str,
    split: str,
) -> dict[str, object]:
    """One row for ``questions_frame``; without an identifier the id is a hash of the messages."""
    return {
        "question_id": identifier if identifier is not None else question_id(messages),
        "messages": [{"role": message.role, "content": message.content} for message in messages],
        "domain": domain,
        "answer": answer,
        "verifier": verifier,
        "source": source,
        "split": split,
    }


def questions_frame(rows: Sequence[Mapping[str, object]]) -> pl.DataFrame:
    """QUESTIONS rows; an empty frame of the schema when there are none."""
    return pl.DataFrame(list(rows), schema=dict(QUESTIONS.columns))


def question_id(messages: Sequence[Message]) -> str:
    """Hash of a conversation: the same messages have the same id wherever they come from."""
    return digest(*(part for message in messages for part in (message.role, message.content)))


def first_of(value: Mapping[str, object], columns: Sequence[str], what: str = "question") -> object:
    """The first cell of ``columns`` that isn't null; ValueError says that there is no ``what``."""
    for column in columns:
        if value.get(column) is not None:
            return value[column]
    raise ValueError(f"no {what}: wanted a column {' or '.join(columns)}, got {', '.join(value) or 'none'}")


def messages_of(value: object) -> list[Message]:
    """A chat from a user's cell: a text, or a list of ``{role, content}`` that ends with the user."""
    if isinstance(value, str):
        if not value.strip():
            raise ValueError("the question is empty")
        return [Message("user", _written(value, "the question"))]
    if not isinstance(value, list):
        raise ValueError(f"wanted a text or a list of messages, got {_named(value)}")
    if not value:
        raise ValueError("the list of messages is empty")
    messages = [_message(turn, number) for number, turn in enumerate(value, 1)]
    if messages[-1].role != "user":
        raise ValueError(f"the last message must be the user's, got role {messages[-1].role!r}")
    return messages


def text_of(value: object, column: str) -> str | None:
    """Text of a scalar cell (numbers are written out), None for null."""
    if value is None or isinstance(value, str):
        return value if value is None else _written(value, column)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"{column}: wanted a text or a number, got {_named(value)}")


def verifier_of(value: object) -> str | None:
    """A ``verifier`` cell as QUESTIONS hold it: a text, or an object with name and options; None for null."""
    return None if value is None else VerifierSettings.of(value).text


def _message(turn: object, number: int) -> Message:
    if not isinstance(turn, dict):
        raise ValueError(f"message {number}: wanted an object with role and content, got {_named(turn)}")
    role, content = turn.get("role"), turn.get("content")
    if role not in _ROLES:
        raise ValueError(f"message {number}: role must be system, user or assistant, got {role!r}")
    if not isinstance(content, str) or not content.strip():
        raise ValueError(f"message {number}: content must be a text that is not empty, got {_named(content)}")
    return Message(role, _written(content, f"message {number}"))


def _written(text: str, what: str) -> str:
    """``text``, which JSON may hold and UTF-8 not: half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{what}: character {error.start + 1} is half of a surrogate pair, and no text"
        ) from error
    return text


def _named(value: object) -> str:
    kinds = {dict: "an object", list: "a list", bool: "true or false", type(None): "null", str: "a text"}
    return kinds.get(type(value), f"a {type(value).__name__}")
