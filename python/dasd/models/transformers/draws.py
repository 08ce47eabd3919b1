"""Drawing tokens: greedy, temperature, top-p, by inverse CDF from uniforms that belong to the request."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

__all__ = ["Uniforms", "draw"]

_BLOCK = 64


class Uniforms:
    """Uniform numbers in [0, 1), one a row and step, from a counter-based generator keyed by the row's seed.

    So what a request draws depends on nothing but its seed: neither on its neighbours nor on the device.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [np.random.Generator(np.random.Philox(key=seed)) for seed in seeds]
        self._block = np.empty((len(seeds), _BLOCK))

    def step(self, step: int, rows: Sequence[int]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Numbers [len(rows)] of these rows at ``step``. Steps come one by one, rows only ever get fewer."""
        column = step % _BLOCK
        if column == 0:
            for row in rows:
                self._block[row] = self._generators[row].random(_BLOCK)
        return self._block[rows, column]


def draw(
    logprobs_b_v: torch.Tensor, temperature: float, top_p: float, uniforms_b: torch.Tensor | None
) -> torch.Tensor:
    """One token id [B] a row.

    ``logprobs_b_v``: float32 log-probabilities at temperature 1. ``uniforms_b``: float64 in [0, 1), not used
    at temperature 0, which takes the likeliest token. Top-p keeps the smallest set of tokens, by the tempered
    probabilities, that holds at least ``top_p`` of the mass.
    """
    if temperature == 0:
        return logprobs_b_v.argmax(-1)
    assert uniforms_b is not None
    tempered = logprobs_b_v if temperature == 1 else torch.log_softmax(logprobs_b_v / temperature, -1)
    probabilities = tempered.exp()
    if top_p >= 1:
        # float64: a float32 running sum over a large vocabulary loses its rarest tokens.
        cdf = probabilities.cumsum(-1, dtype=torch.float64)
        return _invert(cdf, cdf[:, -1:], uniforms_b)[:, 0]
    ranked, order = probabilities.sort(dim=-1, descending=True, stable=True)
    cdf = ranked.cumsum(-1, dtype=torch.float64)
    kept = ((cdf - ranked) < top_p * cdf[:, -1:]).sum(-1, keepdim=True).clamp(min=1)
    place = _invert(cdf, cdf.gather(-1, kept - 1), uniforms_b)
    return order.gather(-1, place)[:, 0]


def _invert(cdf_b_v: torch.Tensor, mass_b_1: torch.Tensor, uniforms_b: torch.Tensor) -> torch.Tensor:
    """First place [B, 1] at which the running sum exceeds the uniform's share of ``mass_b_1``."""
    below = torch.nextafter(mass_b_1, torch.zeros_like(mass_b_1))
    places = torch.searchsorted(cdf_b_v, torch.minimum(uniforms_b[:, None] * mass_b_1, below), right=True)
    # Only sums that are not numbers reach past the end: the caller finds them by the log-probability.
    return places.clamp(max=cdf_b_v.shape[-1] - 1)
