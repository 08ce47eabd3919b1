"""Whether a prompt leaves room for an answer in a model's context, asked before anything is sampled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import polars as pl

from dasd.base.frames import messages_of
from dasd.base.records import Message
from dasd.errors import InputError
from dasd.models.files import declared_context
from dasd.models.tokens.chat import ChatTokenizer
from dasd.recipe.model_settings import ModelSettings

__all__ = ["LEAST_ROOM", "Prompts", "PromptsOf", "least_room", "no_room", "prompts_of", "unanswerable"]

LEAST_ROOM = 256
"""Tokens that an answer needs at least, where the cap on answers isn't lower."""
_TEMPLATE_TOKENS = 4096
"""No template with its own system prompt writes more around a conversation."""
_USUAL_ROLES = (("user",), ("system", "user"))


@dataclass(frozen=True, slots=True)
class Prompts:
    """How long a model's prompts are, and its context, both in its tokens."""

    context: int
    count: Callable[[Sequence[Sequence[Message]]], list[int]]
    """Tokens of each conversation's prompt; raises InputError for one that the chat template refuses."""


PromptsOf = Callable[[ModelSettings], Prompts | None]
"""None for a model whose context or template isn't known here: its engine is left to judge."""


def prompts_of(settings: ModelSettings) -> Prompts | None:
    """Of a model whose files are here or on the hub; the tokenizer is loaded once it is needed."""
    context = declared_context(settings)
    if context is None:
        return None
    chat = cache(lambda: ChatTokenizer.load(settings))
    return Prompts(context, lambda conversations: [len(ids) for ids in chat().prompts_ids(conversations)])


def least_room(max_tokens: int, context: int) -> int:
    """Tokens that have to be left for an answer with this cap: ``LEAST_ROOM``, or a quarter of a small context."""
    return min(max_tokens, LEAST_ROOM, context // 4)


def no_room(role: str, what: str, tokens: int, context: int, room: int) -> str:
    """Why a row is set aside."""
    return (
        f"{what} takes {tokens} tokens of the {role}'s context of {context}: no room for an answer of {room}"
    )


def unanswerable(
    questions: pl.DataFrame, role: str, prompts: Prompts, max_tokens: int
) -> tuple[dict[int, str], dict[int, str]]:
    """Rows whose prompt leaves no room, and rows that the chat template refuses, with what is to be said of them.

    ``questions``: column messages, system prompt included. A text has no more tokens than bytes, so most
    questions are known to fit without being rendered.
    """
    room = least_room(max_tokens, prompts.context)
    turn = pl.element().struct
    looks = questions.select(
        size=pl.col("messages").list.eval(turn.field("content").str.len_bytes()).list.sum(),
        roles=pl.col("messages").list.eval(turn.field("role")),
    )
    long: dict[int, str] = {}
    refused: dict[int, str] = {}
    verdicts: dict[tuple[str, ...], str | None] = {}
    suspects: list[int] = []
    for row, (size, roles) in enumerate(looks.iter_rows()):
        kind = tuple(roles)
        if kind not in verdicts:
            verdicts[kind] = _refusal(prompts, messages_of(questions["messages"][row]))
        if (why := verdicts[kind]) is not None:
            refused[row] = why
        elif size + _TEMPLATE_TOKENS > prompts.context - room:
            suspects.append(row)
    cells = questions["messages"].gather(suspects).to_list()
    counts = prompts.count([messages_of(cell) for cell in cells]) if suspects else []
    for row, tokens in zip(suspects, counts, strict=True):
        if tokens + room > prompts.context:
            long[row] = no_room(role, "its prompt", tokens, prompts.context, room)
    return long, refused


def _refusal(prompts: Prompts, messages: Sequence[Message]) -> str | None:
    if tuple(message.role for message in messages) in _USUAL_ROLES:
        return None  # whether a template takes a system prompt is the recipe's matter, not a row's
    try:
        prompts.count([messages])
    except InputError as error:
        return str(error).partition(";")[0]
    return None
