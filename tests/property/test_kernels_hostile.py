"""Every kernel on hostile shapes: the reference's result, or a ValueError or TypeError with words."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fuzzing import fuzz
from tests.property.hostile_forms import bad_forms, good_forms
from tests.property.test_kernels_duplicates import alike_rows, reference_exact, reference_near
from tests.property.test_kernels_probabilities import (
    PROBABILITIES,
    reference_divergence,
    reference_probabilities,
    response,
)
from tests.property.test_kernels_sentences import TEXTS
from tests.property.test_kernels_tokens import LOOPS, reference_overlap, reference_pack, reference_repetition

from dasd import kernels

Columns = list[list[Any]]


@dataclass(frozen=True)
class Kernel:
    """A kernel, the kinds of its columns, columns for it, and what must come out."""

    call: Callable[..., Any]
    kinds: tuple[str, ...]
    columns: st.SearchStrategy[Columns]
    reference: Callable[..., list[Any]]


def each(one: Callable[..., Any]) -> Callable[..., list[Any]]:
    """A reference for rows out of one for a row; a null in any column gives null."""
    return lambda *columns: [None if None in row else one(*row) for row in zip(*columns, strict=True)]


def or_null(row: st.SearchStrategy[Any], most: int = 7) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.one_of(st.none(), row, row, row), max_size=most)


# One row that is huge beside the others.
TOKENS = st.one_of(
    or_null(LOOPS),
    or_null(st.lists(st.integers(0, 2**32 - 1), max_size=12)),
    st.tuples(or_null(LOOPS), LOOPS, st.integers(0, 20)).map(lambda rows: [*rows[0], rows[1] * rows[2]]),
)
RESPONSES = st.lists(response(), max_size=6).map(
    lambda rows: [list(c) for c in zip(*rows, strict=True)] or [[]] * 3
)
PAIRS = or_null(st.lists(st.tuples(PROBABILITIES, PROBABILITIES), max_size=8)).map(
    lambda rows: [[None if row is None else [pair[side] for pair in row] for row in rows] for side in (0, 1)]
)


@st.composite
def two_models(draw: st.DrawFn) -> Columns:
    """Both models read the same tokens here; test_kernels_probabilities.py has others."""
    logprobs, token_ends, sentence_ends = draw(RESPONSES)
    shifted = [None if row is None else [value - 0.5 for value in row] for row in logprobs]
    return [logprobs, token_ends, shifted, token_ends, sentence_ends]


def reference_compare(t_logprobs: Any, t_ends: Any, s_logprobs: Any, s_ends: Any, ends: Any) -> list[Any]:
    out = []
    for row in zip(t_logprobs, t_ends, s_logprobs, s_ends, ends, strict=True):
        teacher, student = (
            None if None in (*own, row[4]) else reference_probabilities(*own, row[4])
            for own in (row[:2], row[2:4])
        )
        counted: dict[str, Any] = dict.fromkeys(("teacher", "student", "common", "mean_delta"))
        if teacher is not None and student is not None:
            counted = reference_divergence(teacher, student, 0.1)
        out.append({"p_teacher": teacher, "p_student": student, **counted})
    return out


def sentences_one_by_one(texts: list[Any]) -> list[Any]:
    """Each text alone, in the plainest form: that rows and forms don't matter. The rules have own tests."""
    return [None if t is None else kernels.sentence_ends(pl.Series([t]))[0].to_list() for t in texts]


def repetition(tokens: list[int]) -> dict[str, Any]:
    names = ("longest_run", "repeated_share", "loop_period", "loop_tokens")
    return dict(zip(names, reference_repetition(tokens), strict=True))


def one_column(rows: st.SearchStrategy[list[Any]]) -> st.SearchStrategy[Columns]:
    return rows.map(lambda rows: [rows])


KERNELS = {
    "sentence_ends": Kernel(
        kernels.sentence_ends, ("text",), one_column(or_null(TEXTS)), sentences_one_by_one
    ),
    "sentence_probabilities": Kernel(
        kernels.sentence_probabilities,
        ("floats", "tokens", "tokens"),
        RESPONSES,
        each(reference_probabilities),
    ),
    "divergence": Kernel(
        kernels.divergence, ("floats", "floats"), PAIRS, each(lambda t, s: reference_divergence(t, s, 0.1))
    ),
    "compare_sentences": Kernel(
        lambda *columns: kernels.compare_sentences(*columns).to_struct(),
        ("floats", "tokens", "floats", "tokens", "tokens"),
        two_models(),
        reference_compare,
    ),
    "exact_duplicates": Kernel(kernels.exact_duplicates, ("tokens",), one_column(TOKENS), reference_exact),
    "near_duplicates": Kernel(
        lambda tokens: kernels.near_duplicates(tokens, 0.5, 2, num_hashes=2048),
        ("tokens",),
        one_column(alike_rows()),
        lambda rows: reference_near(rows, 0.5, 2),
    ),
    "repetition": Kernel(kernels.repetition, ("tokens",), one_column(TOKENS), each(repetition)),
    "overlap": Kernel(
        lambda tokens, reference: kernels.overlap(tokens, reference, 3),
        ("tokens", "tokens"),
        st.lists(TOKENS, min_size=2, max_size=2),
        lambda rows, known: each(lambda row: reference_overlap(row, known, 3))(rows),
    ),
    "pack": Kernel(
        lambda lengths: kernels.pack(lengths, 50),
        ("counts",),
        one_column(st.lists(st.integers(0, 50), max_size=30)),
        lambda lengths: reference_pack(lengths, 50),
    ),
}


def same(got: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return got.keys() == wanted.keys() and all(same(got[name], wanted[name]) for name in wanted)
    if isinstance(wanted, list):
        return got is not None and len(got) == len(wanted) and all(map(same, got, wanted))
    if isinstance(wanted, float) and got is not None:
        both_nan = math.isnan(got) and math.isnan(wanted)
        return both_nan or math.isclose(got, wanted, rel_tol=1e-4, abs_tol=1e-5)
    return bool(got == wanted)


TYPES = {
    "text": pl.String,
    "floats": pl.List(pl.Float32),
    "tokens": pl.List(pl.UInt32),
    "counts": pl.UInt32,
}


def plain(kernel: Kernel, columns: Columns) -> list[Any]:
    return [pl.Series(rows, dtype=TYPES[kind]) for rows, kind in zip(columns, kernel.kinds, strict=True)]


def refused(kernel: Kernel, arguments: list[Any]) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        kernel.call(*arguments)
    assert len(str(caught.value)) > 10


def attack(kernel: Kernel, data: st.DataObject) -> None:
    """Good columns in any form give the reference's result; one that is bad, or longer, is refused."""
    columns = data.draw(kernel.columns)
    arguments = [data.draw(good_forms(rows, kind)) for rows, kind in zip(columns, kernel.kinds, strict=True)]
    wanted = kernel.reference(*columns)
    got = kernel.call(*arguments).to_list()
    assert same(got, wanted), (got, wanted)
    at = data.draw(st.integers(0, len(columns) - 1))
    others = [data.draw(good_forms(rows, kind)) for rows, kind in zip(columns, kernel.kinds, strict=True)]
    kind = kernel.kinds[at]
    # The number first: bad forms are made anew, as some are used up by looking.
    number = data.draw(st.integers(0, len(bad_forms(kind)) - 1))
    refused(kernel, [bad_forms(kind)[number] if i == at else others[i] for i in range(len(others))])
    if len(columns) > 1 and kernel is not KERNELS["overlap"]:
        longer = [[*rows, None] if i == at else rows for i, rows in enumerate(columns)]
        refused(
            kernel,
            [data.draw(good_forms(rows, kind)) for rows, kind in zip(longer, kernel.kinds, strict=True)],
        )


@pytest.mark.parametrize("name", KERNELS)
@fuzz(examples=60)
@given(data=st.data())
def test_the_reference_or_words(name: str, data: st.DataObject) -> None:
    attack(KERNELS[name], data)


@pytest.mark.parametrize("name", KERNELS)
@settings(max_examples=10)
@given(data=st.data())
def test_two_threads_at_once_compute_the_same(name: str, data: st.DataObject) -> None:
    kernel = KERNELS[name]
    columns = data.draw(kernel.columns)
    arguments = plain(kernel, columns)
    wanted = kernel.reference(*columns)
    with ThreadPoolExecutor(2) as executor:
        for got in executor.map(lambda _: kernel.call(*arguments).to_list(), range(6)):
            assert same(got, wanted)


@pytest.mark.parametrize("kind", ["tokens", "floats", "text", "counts"])
def test_what_no_kernel_takes_is_refused_by_each(kind: str) -> None:
    for kernel in KERNELS.values():
        if kernel.kinds[0] == kind:
            for bad in bad_forms(kind):
                refused(kernel, [bad, *plain(kernel, [[] for _ in kernel.kinds])[1:]])


FORKING = """
import os, sys
from tests.property.test_kernels_hostile import KERNELS, plain, same
rows = {"text": ["A. B", None], "floats": [[-1.0, -2.0], None], "tokens": [[1, 4], None], "counts": [3, 2]}
calls = []
for kernel in KERNELS.values():
    columns = [rows[kind] for kind in kernel.kinds]
    calls.append((kernel, plain(kernel, columns), kernel.reference(*columns)))
agree = lambda: all(same(kernel.call(*arguments).to_list(), wanted) for kernel, arguments, wanted in calls)
assert agree()
if (child := os.fork()) == 0:
    os._exit(0 if agree() else 1)
assert agree()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_computes_the_same_by_every_kernel() -> None:
    # In a process of its own: pytest's has threads, which a fork had better not have.
    command = [sys.executable, "-c", FORKING]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
