"""How much of a model's work is done at a time, where the recipe doesn't say: by the device and what is free on it.

A rule on paper and no measurement. On a CPU 32 responses and 16,384 tokens. On a GPU, with ``usable`` bytes = four
fifths of the whole GiB that are free once the weights are loaded, less 1 GiB for a block of logits and what is made
of it (four times 2^26 elements of float32):

- ``token_budget`` is the largest power of two, from 1,024 to 131,072, for which
  tokens x (keys and values + activations) <= usable;
- a batch takes as many responses, from 1 to 256, as hold
  responses x (keys and values of prompt and cap + logits) + activations of the prefill <= usable.

Whole GiB, so that a few MiB more or less of another process change no batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from dasd.base.records import EngineSizes
from dasd.models.transformers.decoding import Row
from dasd.models.transformers.forward import LOGIT_BLOCK
from dasd.recipe.model_settings import CPU_BATCH_SIZE, CPU_TOKEN_BUDGET, ModelSettings

__all__ = ["Footprint", "Sizes", "free_bytes"]

_GIB = 2**30
_LEAST_TOKENS, _MOST_TOKENS = 2**10, 2**17
_MOST_RESPONSES = 256
_LONG = 4096
"""From here on buffers of keys and values grow by a quarter, before by doubling (``cache``)."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes that a model takes besides its weights, by its config."""

    cache: int
    """Keys and values of a token: 2 x layers x KV heads x head size x bytes of an element."""
    activations: int
    """Of a token, in one layer without gradients: the larger of what attention holds (2 x hidden and 6 x heads x head
    size elements) and what the feed-forward block holds (2 x hidden and 3 x its width; of routed experts, as many as
    a token goes to)."""
    logits: int
    """Of a response: the eight float32 or so over the vocabulary that a draw needs."""

    @classmethod
    def of(cls, config: Any, element: int) -> Footprint:
        """Of a transformers config; ``element``: bytes of a weight. What a config doesn't name counts as usual."""

        def number(name: str, otherwise: int) -> int:
            value = getattr(config, name, None)
            return int(max(value) if isinstance(value, (list, tuple)) else value) if value else otherwise

        hidden = number("hidden_size", 4096)
        heads = number("num_attention_heads", 32)
        width = number("head_dim", hidden // heads)
        kv_heads = number("num_key_value_heads", heads)
        dense = number("intermediate_size", 4 * hidden)
        routed = number("num_experts_per_tok", 0) * number("moe_intermediate_size", dense)
        return cls(
            cache=2 * number("num_hidden_layers", 32) * kv_heads * width * element,
            activations=element * (2 * hidden + max(6 * heads * width, 3 * dense, 3 * routed)),
            logits=8 * 4 * number("vocab_size", 2**17),
        )

    def of_batch(self, responses: int, prompt: int, cap: int, token_budget: int) -> int:
        """Bytes at most of a batch with prompts of up to ``prompt`` tokens and ``cap`` new ones a response."""
        tokens = prompt + cap
        held = 2 * tokens if tokens < _LONG else tokens + tokens // 4
        prefill = min(token_budget, responses * prompt)
        return responses * (held * self.cache + self.logits) + prefill * self.activations


@dataclass(frozen=True, slots=True)
class Sizes:
    """What one engine takes at a time."""

    info: EngineSizes
    usable: int = 0
    """Bytes for a batch, where batches are fitted."""
    footprint: Footprint | None = None
    """Of the model, where batches are fitted."""

    @classmethod
    def choose(cls, settings: ModelSettings, device: str, free: int | None, footprint: Footprint) -> Sizes:
        """The recipe's values, and the device's where there is none. ``free``: bytes free on a GPU, None on a CPU."""
        chosen: list[Literal["token_budget", "batch_size"]] = []
        tokens, together = settings.token_budget, settings.batch_size
        usable = 0 if free is None else max(free // _GIB * _GIB * 4 // 5 - 4 * 4 * LOGIT_BLOCK, 0)
        if tokens is None:
            chosen.append("token_budget")
            tokens = CPU_TOKEN_BUDGET if free is None else _power_of_two(usable, footprint)
        fitted = together is None and free is not None
        if together is None:
            chosen.append("batch_size")
            together = CPU_BATCH_SIZE if free is None else _MOST_RESPONSES
        where = device if free is None else f"{device} with {free / _GIB:.0f} GiB free"
        info = EngineSizes(where, tokens, together, tuple(chosen), fitted)
        return cls(info, usable, footprint) if fitted else cls(info)

    def batches(self, rows: Sequence[Row], order: Sequence[int]) -> Iterator[list[int]]:
        """``order``, indices into ``rows``, in batches that depend on the rows from their first one on and no others.

        So what is left behind whole batches is batched as it would have been behind them.
        """
        start = 0
        while start < len(order):
            batch = list(order[start : start + self.info.batch_size])
            batch = batch[: self._fit([rows[index] for index in batch])]
            yield batch
            start += len(batch)

    def _fit(self, rows: Sequence[Row]) -> int:
        """How many of ``rows``, from the first on, are decoded together; at least 1."""
        if self.footprint is None:
            return len(rows)
        prompt = cap = 0
        for count, row in enumerate(rows):
            prompt, cap = max(prompt, len(row.ids)), max(cap, row.limit)
            need = self.footprint.of_batch(count + 1, prompt, cap, self.info.token_budget)
            if need > self.usable:
                return max(count, 1)
        return len(rows)


def free_bytes(device: torch.device) -> int | None:
    """What is free on a GPU, torch's own empty blocks among it; None for a CPU."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))


def _power_of_two(usable: int, footprint: Footprint) -> int:
    fits = max(usable // (footprint.cache + footprint.activations), _LEAST_TOKENS)
    return int(min(1 << (fits.bit_length() - 1), _MOST_TOKENS))
