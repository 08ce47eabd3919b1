"""A KV cache that grows by doubling: appending a token copies that token, not the whole cache."""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

__all__ = ["new_cache"]

_FIRST_CAPACITY = 64


class GrowingLayer(DynamicLayer):  # type: ignore[misc, no-untyped-call, unused-ignore]
    """``DynamicLayer`` over a larger buffer; ``keys``, ``values`` [B, H, T, D] are views of its filled part.

    Against concatenation a decoding step of a small model takes about a quarter less time.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
        self._filled = 0
        self._buffers: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the states [B, H, N, D] of N tokens; return those of all tokens."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self._filled
        end = start + key_states.shape[-2]
        if self._buffers is None or end > self._buffers[0].shape[-2]:
            self._buffers = (
                self._grown(key_states, self.keys, start, end),
                self._grown(value_states, self.values, start, end),
            )
        keys, values = self._buffers
        keys[:, :, start:end] = key_states
        values[:, :, start:end] = value_states
        self._filled = end
        self.keys, self.values = keys[:, :, :end], values[:, :, :end]
        return self.keys, self.values

    @staticmethod
    def _grown(states: torch.Tensor, held: torch.Tensor | None, filled: int, end: int) -> torch.Tensor:
        batch, heads, _, width = states.shape
        # A quarter more once it is long: doubling would waste memory where there is little.
        capacity = max(_FIRST_CAPACITY, 2 * end) if end < 4096 else end + end // 4
        buffer = states.new_empty(batch, heads, capacity, width)
        if filled:
            assert held is not None
            buffer[:, :, :filled] = held
        return buffer

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows of the batch, in this order; a row may be taken more than once."""
        if self._buffers is not None:
            keys, values = self._buffers
            self._buffers = (keys[indices], values[indices])
            self.keys = self._buffers[0][:, :, : self._filled]
            self.values = self._buffers[1][:, :, : self._filled]


def new_cache(config: Any) -> Any:
    """An empty cache for a model: plain attention layers grow by doubling, others are transformers' own."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
