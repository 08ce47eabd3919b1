"""What the endpoints answer, read and checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dasd.api import BackendError
from dasd_openai.failures import MalformedError

_STOPPED = {"stop": True, "eos": True, "eos_token": True, "length": False, "content_filter": False}
"""A response that a filter of the server's cuts off is one that was cut off."""


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


def only_choice(answer: dict[str, Any]) -> dict[str, Any]:
    """The one choice of an answer. Raises MalformedError where there is none."""
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise MalformedError(f"wanted one choice, got {str(choices)[:80]}")
    return choices[0]


def read_completion(answer: dict[str, Any]) -> Reply:
    """An answer of the completions endpoint. Raises MalformedError."""
    choice = only_choice(answer)
    return _reply(answer, choice, choice.get("text"))


def read_chat(answer: dict[str, Any]) -> Reply:
    """An answer of the chat endpoint.

    Raises MalformedError, and BackendError where the server takes responses apart: what is cut out of a response
    has no place in it any more and no log-probabilities.
    """
    choice = only_choice(answer)
    message = choice.get("message")
    if not isinstance(message, dict):
        raise MalformedError("a choice without a message")
    if message.get("reasoning_content") or message.get("reasoning"):
        raise BackendError(
            "the server's reasoning parser takes the reasoning out of responses, and with it its "
            "log-probabilities; start the server without it (vLLM and SGLang: without --reasoning-parser, "
            "llama.cpp: with --reasoning-format none)"
        )
    if message.get("tool_calls") or choice.get("finish_reason") in ("tool_calls", "function_call"):
        raise BackendError(
            "the server takes tool calls out of responses; start it without a tool-call parser (vLLM: without "
            "--enable-auto-tool-choice)"
        )
    return _reply(answer, choice, message.get("content"))


def _reply(answer: dict[str, Any], choice: dict[str, Any], text: object) -> Reply:
    reason = choice.get("finish_reason")
    if not isinstance(text, str):
        raise MalformedError(f"wanted a text, got {text!r}, finish_reason {reason!r}")
    if reason not in _STOPPED:
        raise MalformedError(f"finish_reason {reason!r}; wanted 'stop' or 'length'")
    if isinstance(choice.get("stop_reason"), str):
        raise BackendError(
            f"the server ends responses at the text {choice['stop_reason']!r}, which isn't the end of the model's "
            "turn; take the stop string out of the server's defaults"
        )
    ids = choice.get("token_ids", entry_ids(answer))
    if ids is not None and not (isinstance(ids, list) and all(type(token) is int for token in ids)):
        raise MalformedError("token_ids are no list of integers")
    pieces, logprobs = token_logprobs(choice.get("logprobs"))
    if ids is not None and logprobs is not None and len(ids) != len(logprobs):
        raise MalformedError(f"{len(ids)} token_ids and {len(logprobs)} log-probabilities")
    return Reply(text, _STOPPED[reason], None if ids is None else tuple(ids), pieces, logprobs)


def entry_ids(answer: dict[str, Any]) -> list[object] | None:
    """Ids beside the log-probabilities, as llama.cpp gives them; None where they aren't those of all sampled tokens."""
    found, usage = only_choice(answer).get("logprobs"), answer.get("usage")
    content = found.get("content") if isinstance(found, dict) else None
    if not isinstance(content, list) or not isinstance(usage, dict):
        return None
    ids = [entry.get("id") if isinstance(entry, dict) else None for entry in content]
    return ids if len(ids) == usage.get("completion_tokens") and None not in ids else None


def token_logprobs(found: object) -> tuple[tuple[bytes, ...] | None, tuple[float, ...] | None]:
    """Bytes and log-probabilities of tokens, in the form of either endpoint; (None, None) where there are none."""
    if not isinstance(found, dict):
        return None, None
    content, tokens = found.get("content"), found.get("tokens")
    if isinstance(content, list):
        pieces = tuple(_piece(entry) for entry in content)
        return pieces, numbers([entry.get("logprob") for entry in content])
    if isinstance(tokens, list) and isinstance(found.get("token_logprobs"), list):
        return tuple(str(token).encode() for token in tokens), numbers(found["token_logprobs"])
    return None, None


def _piece(entry: object) -> bytes:
    if not isinstance(entry, dict):
        raise MalformedError("a token without its log-probability")
    raw = entry.get("bytes")
    try:
        return bytes(raw) if isinstance(raw, list) else str(entry.get("token", "")).encode()
    except (TypeError, ValueError) as error:
        raise MalformedError(f"bytes of a token: {error}") from error


def numbers(values: Sequence[object]) -> tuple[float, ...]:
    """Finite numbers. Raises MalformedError."""
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise MalformedError(f"log-probability {value!r}; wanted a number")
    # Rounding can leave a probability a hair above 1.
    return tuple(min(0.0, float(value)) for value in values)  # type: ignore[arg-type]


def prompt_logprobs(choice: dict[str, Any], ids: Sequence[int], start: int) -> tuple[float, ...]:
    """Log-probabilities of the prompt's tokens from ``start`` on, by ``prompt_logprobs``. Raises MalformedError."""
    found = choice.get("prompt_logprobs")
    if not isinstance(found, list) or len(found) != len(ids):
        got = f"{len(found)}" if isinstance(found, list) else "none"
        raise MalformedError(f"{got} prompt_logprobs for {len(ids)} tokens")
    entries = [
        place.get(str(token)) if isinstance(place, dict) else None
        for token, place in zip(ids[start:], found[start:], strict=True)
    ]
    return numbers([entry.get("logprob") if isinstance(entry, dict) else None for entry in entries])


def echoed_logprobs(choice: dict[str, Any], ids: Sequence[int], start: int) -> tuple[float, ...]:
    """The same from an echo of the prompt, behind which a generated token may stand. Raises MalformedError."""
    found = choice.get("logprobs")
    values = found.get("token_logprobs") if isinstance(found, dict) else None
    if not isinstance(values, list) or not len(ids) <= len(values) <= len(ids) + 1:
        got = f"{len(values)}" if isinstance(values, list) else "no"
        raise MalformedError(f"{got} log-probabilities in the echo of {len(ids)} tokens")
    return numbers(values[start : len(ids)])


def first_top_logprobs(answer: dict[str, Any]) -> list[float] | None:
    """Log-probabilities of the likeliest first tokens, the highest first; None where the server gives none."""
    found = only_choice(answer).get("logprobs")
    if not isinstance(found, dict):
        return None
    content, tops = found.get("content"), found.get("top_logprobs")
    if isinstance(content, list) and content and isinstance(content[0], dict):
        entries = content[0].get("top_logprobs") or []
        values = [entry.get("logprob") for entry in entries if isinstance(entry, dict)]
    elif isinstance(tops, list) and tops and isinstance(tops[0], dict):
        values = list(tops[0].values())
    else:
        values = []
    return sorted(numbers(values), reverse=True)
