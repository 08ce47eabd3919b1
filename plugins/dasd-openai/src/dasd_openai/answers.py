"""What a server answers: the one place where its bytes become values. Nothing behind it has to doubt them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from dasd.api import BackendError
from dasd_openai.failures import MalformedError, plain

ItemT = TypeVar("ItemT")
ShapeT = TypeVar("ShapeT", bound=BaseModel)

_STOPPED = {"stop": True, "eos": True, "eos_token": True, "length": False, "content_filter": False}
"""A response that a filter of the server's cuts off is one that was cut off."""
MOST_IDS = 2**31
"""More than any vocabulary has."""

# A list with a million wrong items is one error.
Every = Annotated[list[ItemT], Field(fail_fast=True)]
# Rounding can leave a probability a hair above 1; the lowest is float32's, which rows hold.
Logprob = Annotated[
    float, Field(ge=-3.4028234663852886e38, le=0.1), AfterValidator(lambda value: min(0.0, value))
]
TokenId = Annotated[int, Field(ge=0, lt=MOST_IDS)]
Name = Annotated[str, AfterValidator(plain)]
"""What goes into messages and rows."""


class _Part(BaseModel):
    """Of an answer: types as the protocol has them, nothing converted; what isn't read here is left out."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False, hide_input_in_errors=True)


class _Likely(_Part):
    id: TokenId | None = None
    """llama.cpp's."""
    logprob: Logprob


class _Token(_Likely):
    token: str = ""
    codes: Every[Annotated[int, Field(ge=0, le=255)]] | None = Field(None, alias="bytes")
    top_logprobs: Every[_Likely] | None = None

    @property
    def piece(self) -> bytes:
        """Its bytes, which text can't always hold."""
        return self.token.encode() if self.codes is None else bytes(self.codes)


class _Logprobs(_Part):
    """In the chat endpoint's form (``content``) or the completions endpoint's."""

    content: Every[_Token] | None = None
    tokens: Every[str] | None = None
    token_logprobs: Every[Logprob | None] | None = None
    top_logprobs: Every[dict[str, Logprob | None] | None] | None = None


class _Message(_Part):
    content: str | None = None
    reasoning_content: object = None
    reasoning: object = None
    tool_calls: object = None


class Choice(_Part):
    """One response; what is asked for one prompt."""

    text: str | None = None
    message: _Message | None = None
    finish_reason: Name | None = None
    stop_reason: object = None
    token_ids: Every[TokenId] | None = None
    logprobs: _Logprobs | None = None
    prompt_logprobs: Every[dict[str, _Likely | None] | None] | None = None


class _Usage(_Part):
    prompt_tokens: Annotated[int, Field(ge=0)] | None = None
    completion_tokens: Annotated[int, Field(ge=0)] | None = None


class Completion(_Part):
    """Of the completions endpoint and of the chat endpoint."""

    choices: Every[Choice] = Field(default_factory=list)
    usage: _Usage | None = None
    system_fingerprint: Name | None = None


class ModelCard(_Part):
    """One model that a server lists."""

    id: Name
    owned_by: Name | None = None
    max_model_len: int | None = None
    meta: object = None
    """llama.cpp's, with ``n_ctx``."""

    @property
    def context_length(self) -> int | None:
        """In tokens, where it tells."""
        length = self.max_model_len or (self.meta.get("n_ctx") if isinstance(self.meta, dict) else None)
        return length if isinstance(length, int) and 0 < length < MOST_IDS else None


class ModelList(_Part):
    """Of ``/models``."""

    data: Every[ModelCard] = Field(default_factory=list)


class About(_Part):
    """What a server tells of itself, in keys of its own: ``model_extra``."""

    model_config = ConfigDict(extra="allow")


def decoded(raw: bytes, shape: type[ShapeT]) -> ShapeT:
    """What ``raw``, one JSON object, says. Raises MalformedError with the first thing that is wrong with it."""
    try:
        return shape.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise MalformedError(f"{place}: {first['msg']}" if place else first["msg"]) from None


@dataclass(frozen=True, slots=True)
class Reply:
    """One response as the server gives it."""

    text: str
    stopped: bool
    token_ids: tuple[int, ...] | None
    """Of the new tokens, the end token included; None where the server gives no ids."""
    pieces: tuple[bytes, ...] | None
    """Bytes of each token that has a log-probability. Several tokens' where llama.cpp makes one entry of a character;
    none of an end token."""
    logprobs: tuple[float, ...] | None
    """One a token of ``token_ids``, or of ``pieces``."""

    @property
    def whole_text(self) -> str:
        """Without the part of a character that the cap left."""
        return self.text if self.stopped else self.text.rstrip("\ufffd")


def only_choice(answer: Completion) -> Choice:
    """The one choice of an answer. Raises MalformedError where there is none, or more."""
    if len(answer.choices) != 1:
        raise MalformedError(f"wanted one choice, got {len(answer.choices)}")
    return answer.choices[0]


def read_completion(answer: Completion, most: int, vocabulary: int = MOST_IDS) -> Reply:
    """An answer of the completions endpoint: at most ``most`` tokens, with ids below ``vocabulary``.

    Raises MalformedError.
    """
    return _reply(answer, only_choice(answer).text, most, vocabulary)


def read_chat(answer: Completion, most: int, vocabulary: int = MOST_IDS) -> Reply:
    """The same of the chat endpoint.

    Raises MalformedError, and BackendError where the server takes responses apart: what is cut out of a response
    has no place in it any more and no log-probabilities.
    """
    choice = only_choice(answer)
    message = choice.message
    if message is None:
        raise MalformedError("a choice without a message")
    if message.reasoning_content or message.reasoning:
        raise BackendError(
            "the server's reasoning parser takes the reasoning out of responses, and with it its "
            "log-probabilities; start the server without it (vLLM and SGLang: without --reasoning-parser, "
            "llama.cpp: with --reasoning-format none)"
        )
    if message.tool_calls or choice.finish_reason in ("tool_calls", "function_call"):
        raise BackendError(
            "the server takes tool calls out of responses; start it without a tool-call parser (vLLM: without "
            "--enable-auto-tool-choice)"
        )
    return _reply(answer, message.content, most, vocabulary)


def _reply(answer: Completion, text: str | None, most: int, vocabulary: int) -> Reply:
    choice = only_choice(answer)
    reason = choice.finish_reason
    if text is None:
        raise MalformedError(f"wanted a text, got None, finish_reason {reason!r}")
    stopped = _STOPPED.get(reason or "")
    if stopped is None:
        raise MalformedError(f"finish_reason {reason!r}; wanted 'stop' or 'length'")
    if isinstance(choice.stop_reason, str):
        raise BackendError(
            "the server ends responses at a text that isn't the end of the model's turn; take the stop string out of "
            f"the server's defaults: {choice.stop_reason!r}"
        )
    ids = entry_ids(answer) if choice.token_ids is None else choice.token_ids
    pieces, logprobs = token_logprobs(choice)
    for given in (ids, logprobs):
        if given is not None and len(given) > most:
            raise MalformedError(f"{len(given)} tokens; asked for at most {most}")
    if ids is not None:
        if logprobs is not None and len(ids) != len(logprobs):
            raise MalformedError(f"{len(ids)} token_ids and {len(logprobs)} log-probabilities")
        if stopped and not ids:
            raise MalformedError("a response that ended, without the token that ended it")
        if ids and max(ids) >= vocabulary:
            raise MalformedError(f"token {max(ids)}; the tokenizer has {vocabulary}")
    return Reply(text, stopped, None if ids is None else tuple(ids), pieces, logprobs)


def entry_ids(answer: Completion) -> list[int] | None:
    """Ids beside the log-probabilities, as llama.cpp gives them; None where they aren't those of all sampled tokens."""
    found, usage = only_choice(answer).logprobs, answer.usage
    if found is None or found.content is None or usage is None:
        return None
    ids = [entry.id for entry in found.content if entry.id is not None]
    return ids if len(ids) == len(found.content) == usage.completion_tokens else None


def token_logprobs(choice: Choice) -> tuple[tuple[bytes, ...] | None, tuple[float, ...] | None]:
    """Bytes and log-probabilities of tokens, in either form; (None, None) where there are none."""
    found = choice.logprobs
    if found is None:
        return None, None
    if found.content is not None:
        return tuple(each.piece for each in found.content), tuple(each.logprob for each in found.content)
    if found.tokens is None or found.token_logprobs is None:
        return None, None
    if len(found.tokens) != len(found.token_logprobs):
        raise MalformedError(f"{len(found.tokens)} tokens and {len(found.token_logprobs)} log-probabilities")
    return tuple(token.encode() for token in found.tokens), _known(found.token_logprobs)


def _known(values: Sequence[float | None]) -> tuple[float, ...]:
    known = tuple(value for value in values if value is not None)
    if len(known) != len(values):
        raise MalformedError(f"{len(values) - len(known)} of {len(values)} log-probabilities are missing")
    return known


def prompt_logprobs(choice: Choice, ids: Sequence[int], start: int) -> tuple[float, ...]:
    """Log-probabilities of the prompt's tokens from ``start`` on, by ``prompt_logprobs``. Raises MalformedError."""
    found = choice.prompt_logprobs
    if found is None or len(found) != len(ids):
        got = "none" if found is None else str(len(found))
        raise MalformedError(f"{got} prompt_logprobs for {len(ids)} tokens")
    likely = [(place or {}).get(str(token)) for token, place in zip(ids[start:], found[start:], strict=True)]
    return _known([None if each is None else each.logprob for each in likely])


def echoed_logprobs(choice: Choice, ids: Sequence[int], start: int) -> tuple[float, ...]:
    """The same from an echo of the prompt, behind which a generated token may stand. Raises MalformedError."""
    values = None if choice.logprobs is None else choice.logprobs.token_logprobs
    if values is None or not len(ids) <= len(values) <= len(ids) + 1:
        got = "no" if values is None else str(len(values))
        raise MalformedError(f"{got} log-probabilities in the echo of {len(ids)} tokens")
    return _known(values[start : len(ids)])


def first_top_logprobs(answer: Completion) -> list[float] | None:
    """Log-probabilities of the likeliest first tokens, the highest first; None where the server gives none."""
    found = only_choice(answer).logprobs
    if found is None:
        return None
    values: list[float | None] = []
    if found.content:
        values += [each.logprob for each in found.content[0].top_logprobs or []]
    elif found.top_logprobs:
        values += (found.top_logprobs[0] or {}).values()
    return sorted((value for value in values if value is not None), reverse=True)
