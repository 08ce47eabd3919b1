"""repetition, overlap and pack against their definitions."""

from __future__ import annotations

import math
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.kernel_forms import TOKENS, forms, token_rows

from dasd import kernels


def reference_repetition(row: list[int]) -> tuple[int, float, int, int]:
    longest = 0
    for period in range(1, len(row)):
        length = 0
        for at in range(period, len(row)):
            length = length + 1 if row[at] == row[at - period] else 0
            longest = max(longest, length) if length >= period else longest
    grams = [tuple(row[i : i + 8]) for i in range(len(row) - 7)]
    inside = {i + j for i, gram in enumerate(grams) if gram in grams[:i] for j in range(8)}
    periods = range(1, len(row) // 3 + 1)
    loop = next((p for p in periods if row[-3 * p : -p] == row[-2 * p :]), 0)
    ending = loop
    while loop and ending < len(row) and row[-1 - ending] == row[-1 - ending + loop]:
        ending += 1
    return longest, len(inside) / len(row) if row else 0.0, loop, ending


# Blocks said several times, with something in between.
BLOCKS = st.lists(st.tuples(st.lists(st.integers(0, 2), max_size=9), st.integers(1, 9)), max_size=4)
LOOPS = BLOCKS.map(lambda blocks: [token for block, times in blocks for token in block * times])


@given(st.lists(st.one_of(st.none(), LOOPS, LOOPS, LOOPS), max_size=6), st.data())
def test_repetition_is_its_definition(rows: list[Any], data: st.DataObject) -> None:
    got = kernels.repetition(data.draw(forms(rows, TOKENS)))
    whole = ("longest_run", "loop_period", "loop_tokens")
    assert got.dtype == pl.Struct(
        {
            "longest_run": pl.UInt32,
            "repeated_share": pl.Float32,
            "loop_period": pl.UInt32,
            "loop_tokens": pl.UInt32,
        }
    )
    for row, measured in zip(rows, got.to_list(), strict=True):
        if row is None:
            assert measured is None
            continue
        longest, share, loop, ending = reference_repetition(row)
        assert tuple(measured[name] for name in whole) == (longest, loop, ending)
        assert math.isclose(measured["repeated_share"], share, rel_tol=1e-6)


def test_repetition_of_long_loops() -> None:
    rows = pl.Series([[5] * 65_536, list(range(100)) * 650, list(range(65_536))], dtype=TOKENS)
    assert kernels.repetition(rows).struct.field("longest_run").to_list() == [65_535, 64_900, 0]
    assert kernels.repetition(rows).struct.field("loop_period").to_list() == [1, 100, 0]
    assert kernels.repetition(rows).struct.field("loop_tokens").to_list() == [65_536, 65_000, 0]


def reference_overlap(row: list[int], reference: list[Any], ngram: int) -> float:
    def grams(tokens: list[int]) -> list[tuple[int, ...]]:
        return [tuple(tokens[i : i + ngram]) for i in range(len(tokens) - ngram + 1)]

    known = {gram for tokens in reference if tokens is not None for gram in grams(tokens)}
    own = grams(row)
    return sum(gram in known for gram in own) / len(own) if own else 0.0


@given(token_rows(4, 12), token_rows(4, 12), st.sampled_from([1, 2, 3, 13]), st.data())
def test_overlap_is_the_share_of_known_ngrams(
    rows: list[Any], reference: list[Any], ngram: int, data: st.DataObject
) -> None:
    got = kernels.overlap(data.draw(forms(rows, TOKENS)), data.draw(forms(reference, TOKENS)), ngram)
    assert got.dtype == pl.Float32
    for row, share in zip(rows, got.to_list(), strict=True):
        if row is None:
            assert share is None
        else:
            assert math.isclose(share, reference_overlap(row, reference, ngram), rel_tol=1e-6)


def test_overlap_refuses_an_empty_ngram() -> None:
    with pytest.raises(ValueError, match="ngram: wanted at least 1 token, got 0"):
        kernels.overlap(pl.Series([[1]]), pl.Series([[1]]), ngram=0)


def reference_pack(lengths: list[int], capacity: int) -> list[int]:
    bins, rooms = [0] * len(lengths), []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        fits = [(room, number) for number, room in enumerate(rooms) if room >= lengths[row]]
        if not fits:
            rooms.append(capacity)
            fits = [(capacity, len(rooms) - 1)]
        number = min(fits)[1]
        rooms[number] -= lengths[row]
        bins[row] = number
    return bins


@given(st.integers(0, 40), st.data())
def test_pack_is_best_fit_decreasing(capacity: int, data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(0, capacity), max_size=40))
    got = kernels.pack(data.draw(forms(lengths, pl.UInt32)), capacity)
    assert got.dtype == pl.UInt32
    assert got.to_list() == reference_pack(lengths, capacity)


@pytest.mark.parametrize(
    ("lengths", "capacity", "words"),
    [
        ([3, 11], 10, "row 1: wanted a length of at most 10, the capacity, got 11"),
        ([3, None], 10, "lengths: row 1: wanted whole numbers .* got null"),
        ([3, -1], 10, "lengths: row 1: wanted whole numbers .* got -1"),
        ([3], -1, "capacity: wanted a whole number from 0 to"),
        ([3], 2**32, "capacity: wanted a whole number from 0 to"),
    ],
)
def test_pack_refuses_what_does_not_fit(lengths: list[Any], capacity: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        kernels.pack(pl.Series(lengths, dtype=pl.Int64), capacity)
