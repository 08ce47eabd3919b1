"""What one kind of server does differently from another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Dialect:
    """One kind of server, told by ``owned_by`` in its list of models."""

    name: str
    version_path: str | None = None
    """Beside /v1, not below it."""
    version_key: str = "version"
    plain: Mapping[str, object] = field(default_factory=dict)
    """Switches off what the server or the model's files would change about sampling: a response has to be a draw
    from the model at the recipe's temperature and nucleus, nothing else."""
    token_ids: Mapping[str, object] = field(default_factory=dict)
    """Asks for the ids of sampled tokens."""
    prompt_logprobs: bool = False
    """Whether the completions endpoint has ``prompt_logprobs``; others are asked to echo the prompt."""
    forces: bool = False
    """Neither: a grammar makes it generate the tokens that are to be scored. Its log-probabilities are raw all the
    same, and an end token follows where the grammar ends."""
    fewest_logprobs: int = 1
    """Value of the completions endpoint's ``logprobs`` that asks for the sampled token's alone, or for least."""
    fewest_top_logprobs: int = 0
    """The same of the chat endpoint's ``top_logprobs``."""
    seed_bits: int = 31


_VLLM = Dialect(
    "vllm",
    version_path="/version",
    plain={
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
    },
    token_ids={"return_token_ids": True},
    prompt_logprobs=True,
    fewest_logprobs=0,
    seed_bits=63,
)
_SGLANG = Dialect(
    "sglang",
    version_path="/get_server_info",
    plain={"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
)
_LLAMA_CPP = Dialect(
    "llamacpp",
    version_path="/props",
    version_key="build_info",
    # In this order: its own takes the nucleus first, of the distribution at temperature 1. What isn't named is off.
    plain={"samplers": ["temperature", "top_p"], "dynatemp_range": 0.0, "mirostat": 0},
    forces=True,
    fewest_top_logprobs=1,
)
_DIALECTS = {dialect.name: dialect for dialect in (_VLLM, _SGLANG, _LLAMA_CPP)}


def dialect(owned_by: str) -> Dialect:
    """The dialect of a server by what it says of its models; one that nobody knows gets no extras."""
    return _DIALECTS.get(owned_by, Dialect("other"))
