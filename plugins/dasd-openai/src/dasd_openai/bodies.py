"""What the endpoints are sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dasd.api import Message, SamplingSpec
from dasd_openai.servers import Dialect

Mode = Literal["tokens", "chat"]
Measured = Literal["raw", "processed", "none"]


@dataclass(frozen=True, slots=True)
class Draw:
    """One response to ask for."""

    prompt_ids: Sequence[int]
    messages: Sequence[Message]
    """Sent in mode ``chat``, where the server renders the prompt itself."""
    temperature: float
    top_p: float
    max_tokens: int
    seed: int


def draw_of(
    prompt_ids: Sequence[int], messages: Sequence[Message], spec: SamplingSpec, limit: int, seed: int
) -> Draw:
    """A draw at the spec's temperature and nucleus."""
    return Draw(prompt_ids, messages, spec.temperature, spec.top_p, limit, seed)


def sampling_body(model: str, dialect: Dialect, mode: Mode, draw: Draw, tops: int | None) -> dict[str, Any]:
    """One response. ``tops``: other likely tokens to give log-probabilities of; None: none at all."""
    body: dict[str, Any] = {
        "model": model,
        "temperature": draw.temperature,
        "top_p": draw.top_p,
        "max_tokens": draw.max_tokens,
        "seed": draw.seed % 2**dialect.seed_bits,
        **dialect.plain,
        **dialect.token_ids,
    }
    if mode == "tokens":
        body["prompt"] = list(draw.prompt_ids)
        if tops is not None:
            body["logprobs"] = max(tops, dialect.fewest_logprobs)
        return body
    body["messages"] = [{"role": m.role, "content": m.content} for m in draw.messages]
    if tops is not None:
        body["logprobs"] = True
        body["top_logprobs"] = max(tops, dialect.fewest_top_logprobs)
    return body


def scoring_body(model: str, dialect: Dialect, ids: Sequence[int]) -> dict[str, Any]:
    """Log-probabilities of a prompt's own tokens; one token is generated, as not every server can do without."""
    body: dict[str, Any] = {"model": model, "prompt": list(ids), "max_tokens": 1, "temperature": 1.0}
    return (
        {**body, "prompt_logprobs": 0} if dialect.prompt_logprobs else {**body, "echo": True, "logprobs": 1}
    )


def endpoint(mode: Mode) -> str:
    """Path below the base address."""
    return "/completions" if mode == "tokens" else "/chat/completions"
