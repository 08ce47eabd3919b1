"""Exact Jaccard similarity of two token rows as sets of 5-grams, in numpy: the benchmarks' own measure.

It shares nothing with the kernels: 5-grams are told apart by a 64-bit hash with other constants.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations

import numpy as np
import numpy.typing as npt

NGRAM = 5
_ODD = np.array(
    [0x9FB21C651E98DF25, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F, 0xE7037ED1A0B428DB, 0x8EBC6AF09C88C6E3],
    np.uint64,
)


def shingle_hashes(tokens: npt.NDArray[np.generic], ngram: int = NGRAM) -> npt.NDArray[np.uint64]:
    """Hash of each n-gram (ngram at most 5), in order: T - ngram + 1 of them."""
    count = max(0, len(tokens) - ngram + 1)
    total = np.zeros(count, np.uint64)
    spread = (tokens.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    spread ^= spread >> np.uint64(29)
    for place in range(ngram):
        total += spread[place : place + count] * _ODD[place]
    total ^= total >> np.uint64(32)
    total *= np.uint64(0xD6E8FEB86659FD93)
    total ^= total >> np.uint64(32)
    return total


def jaccard(a: npt.NDArray[np.generic], b: npt.NDArray[np.generic]) -> float:
    """Common 5-grams / all 5-grams, each counted once."""
    first, second = np.unique(shingle_hashes(a)), np.unique(shingle_hashes(b))
    common = len(np.intersect1d(first, second, assume_unique=True))
    return common / (len(first) + len(second) - common)


def wrong_members(
    row: list[npt.NDArray[np.generic]], clusters: npt.NDArray[np.int64], threshold: float
) -> int:
    """Rows that are in a cluster without being connected to it through pairs of at least ``threshold``.

    Args:
        row: N token rows.
        clusters: the cluster of each.
        threshold: Jaccard similarity.
    """
    members = defaultdict(list)
    for number, cluster in enumerate(clusters.tolist()):
        members[cluster].append(number)
    wrong = 0
    for group in members.values():
        parent = {number: number for number in group}

        def root(number: int, parent: dict[int, int] = parent) -> int:
            while parent[number] != number:
                number = parent[number]
            return number

        for a, b in combinations(group, 2):
            if root(a) != root(b) and jaccard(row[a], row[b]) >= threshold:
                parent[root(b)] = root(a)
        wrong += len({root(number) for number in group}) - 1
    return wrong
