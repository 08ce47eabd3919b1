"""A set of identities that takes 16 bytes each, for the responses of a whole run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["IdSet"]

_U64 = NDArray[np.uint64]
_SEEDS = (0, 1)
_SHELF_BITS = 6
_AT_ONCE = 1 << 16
"""Identities that are put on their shelves together."""


class IdSet:
    """Holds two hashes of each identity, 128 bits together: as many as an identity itself is made of."""

    def __init__(self, ids: Iterable[pl.Series]) -> None:
        """``ids``: strings, in as many series as there are."""
        shelves: list[list[tuple[_U64, _U64]]] = [[] for _ in range(1 << _SHELF_BITS)]
        size = 0
        for first, second in _together(ids):
            size += len(first)
            shelf = first >> np.uint64(64 - _SHELF_BITS)
            order = np.argsort(shelf, kind="stable")
            ends = np.searchsorted(shelf[order], np.arange(1, len(shelves), dtype=np.uint64))
            cut = (np.split(each[order], ends) for each in (first, second))
            for held, one, other in zip(shelves, *cut, strict=True):
                held.append((one.copy(), other.copy()))  # a view would keep the whole
        self._first, self._second = np.empty(size, np.uint64), np.empty(size, np.uint64)
        place = 0
        for held in shelves:  # one after the other, so that no second copy of everything is sorted
            if held:
                first, second = _joined(held)
                held.clear()
                order = np.lexsort((second, first))
                here = slice(place, place + len(order))
                self._first[here], self._second[here] = first[order], second[order]
                place += len(order)
        again = (self._first[1:] == self._first[:-1]) & (self._second[1:] == self._second[:-1])
        if again.any():
            self._only(np.concatenate([[True], ~again]))

    def __len__(self) -> int:
        return len(self._first)

    def mask(self, ids: pl.Series) -> pl.Series:
        """Which of ``ids`` are in the set."""
        return pl.Series(self._find(ids) < len(self), dtype=pl.Boolean)

    def keep(self, ids: Iterable[pl.Series]) -> None:
        """Drop those that aren't among ``ids``."""
        there = np.zeros(len(self) + 1, np.bool_)
        for series in ids:
            there[self._find(series)] = True
        self._only(there[:-1])

    def _only(self, wanted: NDArray[np.bool_]) -> None:
        self._first = self._first[wanted]
        self._second = self._second[wanted]

    def _find(self, ids: pl.Series) -> NDArray[np.int64]:
        """The place of each in the set; its size for one that isn't there."""
        first, second = _hashes(ids)
        place = np.searchsorted(self._first, first)
        found = np.full(len(first), len(self), np.int64)
        left = np.arange(len(first))
        while left.size:  # once, but for identities that share half of their hash
            left = left[place[left] < len(self._first)]
            left = left[self._first[place[left]] == first[left]]
            same = self._second[place[left]] == second[left]
            found[left[same]] = place[left[same]]
            left = left[~same]
            place[left] += 1
        return found


def _together(ids: Iterable[pl.Series]) -> Iterator[tuple[_U64, _U64]]:
    """Hashes of many identities at a time, whatever the series hold."""
    held: list[tuple[_U64, _U64]] = []
    size = 0
    for series in ids:
        held.append(_hashes(series))
        size += len(series)
        if size >= _AT_ONCE:
            yield _joined(held)
            held, size = [], 0
    if size:
        yield _joined(held)


def _joined(pairs: Sequence[tuple[_U64, _U64]]) -> tuple[_U64, _U64]:
    return np.concatenate([first for first, _ in pairs]), np.concatenate([second for _, second in pairs])


def _hashes(ids: pl.Series) -> tuple[_U64, _U64]:
    first, second = (ids.hash(seed).to_numpy() for seed in _SEEDS)
    return first, second
