"""Overlap, repetition and packing, as one would write or fetch them."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.peers.available import gather
from benchmarks.table import Contender

Gram = tuple[int, ...]


def grams_of(rows: list[list[int]], ngram: int) -> set[Gram]:
    """All n-grams of the rows."""
    return {tuple(row[i : i + ngram]) for row in rows for i in range(len(row) - ngram + 1)}


def python_overlap(rows: list[list[int]], seen: set[Gram], ngram: int) -> list[float]:
    """Share of each row's n-grams that are in the set."""
    out = []
    for row in rows:
        count = len(row) - ngram + 1
        found = sum(tuple(row[i : i + ngram]) in seen for i in range(count))
        out.append(found / count if count > 0 else 0.0)
    return out


def python_repetition(rows: list[list[int]]) -> list[tuple[float, int, int]]:
    """Repeated share, period and length of the loop at the end; not the longest run, which is quadratic so."""
    return [(_repeated_share(row), *_loop(row)) for row in rows]


def _repeated_share(row: list[int], ngram: int = 8) -> float:
    if len(row) <= ngram:
        return 0.0
    seen: set[Gram] = set()
    inside = [False] * len(row)
    for i in range(len(row) - ngram + 1):
        gram = tuple(row[i : i + ngram])
        if gram in seen:
            inside[i : i + ngram] = [True] * ngram
        seen.add(gram)
    return sum(inside) / len(row)


def _loop(row: list[int]) -> tuple[int, int]:
    for period in range(1, len(row) // 3 + 1):
        # The first test is what makes it linear on text without loops.
        if row[-1] == row[-1 - period] and row[-3 * period : -period] == row[-2 * period :]:
            start = len(row) - 3 * period
            while start > 0 and row[start - 1] == row[start - 1 + period]:
                start -= 1
            return period, len(row) - start
    return 0, 0


def trl_pack(lengths: npt.NDArray[np.int64], capacity: int) -> int:
    """Bins of TRL's best-fit decreasing: its segment tree and its loop, without the tokens that it moves.

    The loop is that of ``trl.data_utils._pack_bfd`` (Apache-2.0), which cannot be called without a table that
    holds all tokens.
    """
    from trl.data_utils import _SegmentTree

    tree = _SegmentTree(capacity)
    tree.add(capacity)
    bins: list[dict[str, Any]] = []
    with_space: defaultdict[int, deque[dict[str, Any]]] = defaultdict(deque)
    order = np.argsort(-lengths, kind="stable")
    for length, place in zip(lengths[order], order, strict=True):
        space = tree.search(length)
        if space < capacity:
            chosen = with_space[space].popleft()
        else:
            chosen = {"ids": [], "length": 0}
            bins.append(chosen)
        chosen["ids"].append(place)
        chosen["length"] += length
        if space < capacity and not with_space[space]:
            tree.remove(space)
        space = space - length
        with_space[space].append(chosen)
        if space > 0:
            tree.add(space)
    return len(bins)


def trl_pack_table(lengths: npt.NDArray[np.int64], capacity: int) -> int:
    """Bins of ``_pack_bfd`` itself over a table with that many tokens: holds :func:`trl_pack` to it."""
    import pyarrow as pa
    from trl.data_utils import _pack_bfd

    offsets = np.concatenate([[0], np.cumsum(lengths)])
    column = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(np.zeros(offsets[-1], np.int8)))
    return int(_pack_bfd(pa.table({"tokens": column}), capacity).num_rows)


def pack_contenders(lengths: npt.NDArray[np.int64], capacity: int, left_out: list[str]) -> list[Contender]:
    """Against pack."""
    return gather(
        {
            "trl": lambda: [
                Contender(
                    "TRL best-fit packing",
                    lambda: trl_pack(lengths, capacity),
                    target=10.0,
                    rounds=2,
                    note="its loop alone, no tokens moved",
                )
            ]
        },
        left_out,
    )
