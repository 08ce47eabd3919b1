"""A set of identities that takes 16 bytes each, for the responses of a whole run."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["IdSet"]

_U64 = NDArray[np.uint64]
_SEEDS = (0, 1)


class IdSet:
    """Holds two hashes of each identity, 128 bits together: as many as an identity itself is made of."""

    def __init__(self, ids: Iterable[pl.Series]) -> None:
        """``ids``: strings, in as many series as there are."""
        pairs = [_hashes(series) for series in ids]
        empty = np.empty(0, np.uint64)
        first = np.concatenate([empty, *(first for first, _ in pairs)])
        second = np.concatenate([empty, *(second for _, second in pairs)])
        order = np.lexsort((second, first))
        self._first, self._second = first[order], second[order]
        again = (self._first[1:] == self._first[:-1]) & (self._second[1:] == self._second[:-1])
        if again.any():
            fresh = np.concatenate([[True], ~again])
            self._first, self._second = self._first[fresh], self._second[fresh]

    def __len__(self) -> int:
        return len(self._first)

    def mask(self, ids: pl.Series) -> pl.Series:
        """Which of ``ids`` are in the set."""
        first, second = _hashes(ids)
        place = np.searchsorted(self._first, first)
        found = np.zeros(len(first), np.bool_)
        left = np.arange(len(first))
        while left.size:  # once, but for identities that share half of their hash
            left = left[place[left] < len(self._first)]
            left = left[self._first[place[left]] == first[left]]
            found[left] = self._second[place[left]] == second[left]
            left = left[~found[left]]
            place[left] += 1
        return pl.Series(found, dtype=pl.Boolean)


def _hashes(ids: pl.Series) -> tuple[_U64, _U64]:
    first, second = (ids.hash(seed).to_numpy() for seed in _SEEDS)
    return first, second
