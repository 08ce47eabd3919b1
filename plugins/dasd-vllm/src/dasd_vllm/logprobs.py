"""vLLM's log-probabilities as arrays: its flat form, which has no object for each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dasd.api import BackendError

__all__ = ["Table", "of_prompt", "table"]

Table = tuple[npt.NDArray[np.uint32], npt.NDArray[np.float32]]
"""Ids and log-probabilities (T, 1 + K): at each position its own token, then the K likeliest."""


def table(name: str, tokens: Sequence[int], found: Any, k: int) -> Table:
    """What vLLM found of ``tokens``, asked for ``k`` likeliest with ``flat_logprobs``; ``name`` for errors."""
    ids = np.array(found.token_ids, dtype=np.uint32)
    logprobs = np.array(found.logprobs, dtype=np.float32)
    width = k + 1
    if len(ids) != len(tokens) * width or (ids[::width] != np.asarray(tokens, dtype=np.uint32)).any():
        raise BackendError(
            f"{name}: vLLM returned {len(ids)} log-probabilities for {len(tokens)} tokens, or those of others; wanted "
            f"{width} for each, its own first"
        )
    return ids.reshape(-1, width), logprobs.reshape(-1, width)


def of_prompt(name: str, ids: Sequence[int], start: int, output: Any, k: int) -> Table:
    """The same of a prompt's tokens ``ids`` from ``start`` on. vLLM gives none for the first of all, which is never
    asked for."""
    found = output.prompt_logprobs
    if len(found) != len(ids):
        raise BackendError(f"{name}: vLLM returned {len(found)} prompt log-probabilities; wanted {len(ids)}")
    return table(name, ids[start:], found[start:], k)
