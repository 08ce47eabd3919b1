"""Responses as vectors that tell phrasings apart and operands not: hashed words and pairs of words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from zlib import crc32

import numpy as np
import numpy.typing as npt

__all__ = ["WIDTH", "ngram_features"]

WIDTH = 512
"""Buckets. Two n-grams that share one are taken for the same."""
_WORD = re.compile(r"[^\W\d_]+|\d+|[^\w\s]|_")
_MIX = np.uint64(0x9E3779B97F4A7C15)
_TOP_BITS = np.uint64(64 - 9)  # 2**9 buckets


class _Words(dict[str, int]):
    """The hash of each word seen; every number has the same one, case is ignored."""

    def __missing__(self, word: str) -> int:
        found = crc32(("0" if word.isdecimal() else word.lower()).encode())
        self[word] = found
        return found


def ngram_features(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Shape (len(texts), WIDTH): square roots of the shares of a text's words and pairs of neighbouring words.

    A word is a run of letters, a run of digits (all numbers are one word) or one other sign. The square root
    damps what recurs and gives every row length 1, so that products of rows are Bhattacharyya coefficients of
    two texts' distributions of n-grams. A text without words is a row of zeros.
    """
    words = _Words()
    rows = np.zeros((len(texts), WIDTH), dtype=np.float32)
    for row, text in enumerate(texts):
        found = np.array([words[word] for word in _WORD.findall(text)], dtype=np.uint64)
        if len(found):
            pairs = (found[:-1] << np.uint64(32)) | found[1:]
            # Fibonacci hashing: the highest bits of the product depend on all bits below.
            hashed = (np.concatenate([found, pairs]) ^ (np.uint64(1) << np.uint64(63))) * _MIX
            buckets = (hashed ^ (hashed >> np.uint64(29))) * _MIX >> _TOP_BITS
            counts = np.bincount(buckets.astype(np.int64), minlength=WIDTH)
            rows[row] = np.sqrt(counts / len(hashed))
    return rows
