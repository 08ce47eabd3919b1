"""sentence_probabilities and divergence against their definitions."""

from __future__ import annotations

import math
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.property.kernel_forms import FLOATS, TOKENS, forms

from dasd import kernels

INF = float("inf")
LOGPROBS = st.one_of(
    st.floats(-30, 0, width=32), st.floats(-30, 0, width=32), st.sampled_from([-INF, math.nan, -0.0])
)
PROBABILITIES = st.one_of(st.floats(0, 1, width=32), st.floats(0, 1, width=32), st.just(math.nan))


def reference_probabilities(logprobs: list[float], token_ends: list[int], ends: list[int]) -> list[float]:
    out = []
    for start, end in zip([0, *ends], ends, strict=False):
        covering = []
        for logprob, left, right in zip(logprobs, [0, *token_ends], token_ends, strict=False):
            if left < right and left < end and right > start:
                covering.append(logprob)
        out.append(math.exp(sum(covering) / len(covering)))
    return out


@st.composite
def response(draw: st.DrawFn) -> tuple[Any, Any, Any]:
    """Logprobs, token ends and sentence ends of one text; sometimes one of them null."""
    length = draw(st.integers(0, 30))
    token_ends = sorted(draw(st.lists(st.integers(0, length), max_size=30)))
    if length or draw(st.booleans()):
        token_ends.append(length)
    inner = draw(st.sets(st.integers(1, max(length - 1, 1)), max_size=6)) if length > 1 else set()
    sentence_ends = sorted(inner) + ([length] if length else [])
    logprobs = draw(st.lists(LOGPROBS, min_size=len(token_ends), max_size=len(token_ends)))
    row: list[Any] = [logprobs, token_ends, sentence_ends]
    if draw(st.integers(0, 9)) == 0:
        row[draw(st.integers(0, 2))] = None
    return row[0], row[1], row[2]


def same(got: Any, wanted: Any) -> bool:
    if got is None or wanted is None:
        return got is wanted
    return (math.isnan(got) and math.isnan(wanted)) or math.isclose(got, wanted, rel_tol=1e-5, abs_tol=1e-37)


@given(st.lists(response(), max_size=6), st.data())
def test_sentence_probabilities_are_geometric_means_of_covering_tokens(
    rows: list[tuple[Any, Any, Any]], data: st.DataObject
) -> None:
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
    arguments = [
        data.draw(forms(column, dtype))
        for column, dtype in zip(columns, (FLOATS, TOKENS, TOKENS), strict=True)
    ]
    got = kernels.sentence_probabilities(*arguments)
    assert got.dtype == pl.List(pl.Float32)
    assert len(got) == len(rows)
    for row, probabilities in zip(rows, got.to_list(), strict=True):
        if None in row:
            assert probabilities is None
        else:
            wanted = reference_probabilities(*row)
            assert len(probabilities) == len(wanted)
            assert all(same(p, q) for p, q in zip(probabilities, wanted, strict=True)), (row, probabilities)


@given(response(), st.data())
def test_tokens_without_width_change_nothing(row: tuple[Any, Any, Any], data: st.DataObject) -> None:
    assume(None not in row)
    logprobs, token_ends, ends = row
    text = (ends or [0])[-1]
    given = ([*logprobs, -1.0], [*token_ends, text], ends)
    more = list(zip(*given[:2], strict=True))
    for place in sorted(data.draw(st.lists(st.integers(0, len(more)), max_size=8)), reverse=True):
        more.insert(place, (data.draw(LOGPROBS), more[place - 1][1] if place else 0))
    with_more = ([p for p, _ in more], [end for _, end in more], ends)
    same_rows = [
        kernels.sentence_probabilities(
            *(
                pl.Series([column], dtype=dtype)
                for column, dtype in zip(case, (FLOATS, TOKENS, TOKENS), strict=True)
            )
        )
        for case in (given, with_more)
    ]
    assert same_rows[0].to_list()[0] == pytest.approx(same_rows[1].to_list()[0], nan_ok=True, rel=1e-6)


def test_an_answer_of_one_token_is_as_likely_as_that_token() -> None:
    """Harmony writes five tokens of a header, all but certain, before it: 0.2, not 0.2^(1/6) = 0.76."""
    likely = [0.0] * 5
    got = kernels.sentence_probabilities(
        pl.Series([[*likely, math.log(0.2)], [math.log(0.5), *likely, math.log(0.2), 0.0]]),
        pl.Series([[0, 0, 0, 0, 0, 2], [3, 3, 3, 3, 3, 3, 5, 5]]),
        pl.Series([[2], [3, 5]]),
    )
    assert [pytest.approx(row, rel=1e-6) for row in got.to_list()] == [[0.2], [0.5, 0.2]]


@given(st.text(max_size=40), st.data())
def test_every_sentence_of_any_tokenization_has_a_probability(text: str, data: st.DataObject) -> None:
    size = len(text.encode())
    token_ends = sorted(data.draw(st.lists(st.integers(0, size), max_size=10))) + [size]
    ends = kernels.sentence_ends(pl.Series([text]))
    logprobs = pl.Series([[-1.0] * len(token_ends)])
    got = kernels.sentence_probabilities(logprobs, pl.Series([token_ends]), ends)
    assert got.list.len().to_list() == ends.list.len().to_list()
    assert all(math.isclose(p, math.exp(-1), rel_tol=1e-6) for p in got[0])


@pytest.mark.parametrize(
    ("logprobs", "token_ends", "sentence_ends", "words"),
    [
        ([-1.0], [1, 2], [2], "row 1: wanted one logprob a token: 2 token_ends, got 1 logprobs"),
        ([-1.0, -1.0], [2, 1], [1], "row 1: wanted token_ends that never decrease, got 2 then 1"),
        ([-1.0], [2], [2, 2], "row 1: wanted strictly increasing sentence_ends, got 2 then 2"),
        ([-1.0], [2], [0, 2], "row 1: wanted sentence_ends above 0"),
        ([-1.0], [2], [3], "row 1: .* got token_ends up to byte 2 and sentence_ends up to byte 3"),
        ([-1.0], [2], [], "row 1: .* got token_ends up to byte 2 and sentence_ends up to byte 0"),
        ([], [], [2], "row 1: wanted tokens for 1 sentences, got none"),
        ([None], [2], [2], "logprobs: row 1: wanted a list without nulls"),
        ([-1.0], [None], [2], "token_ends: row 1: wanted a list without nulls"),
        ([-1.0], [-2], [2], "token_ends: row 1: wanted whole numbers from 0 to 4294967295, got -2"),
        ([-1.0], [2], [2**32], "sentence_ends: row 1: wanted whole numbers .* got 4294967296"),
    ],
)
def test_malformed_rows_are_named(
    logprobs: list[Any], token_ends: list[Any], sentence_ends: list[Any], words: str
) -> None:
    arguments = (
        pl.Series([[-1.0], logprobs], dtype=pl.List(pl.Float32)),
        pl.Series([[2], token_ends], dtype=pl.List(pl.Int64)),
        pl.Series([[2], sentence_ends], dtype=pl.List(pl.Int64)),
    )
    with pytest.raises(ValueError, match=words):
        kernels.sentence_probabilities(*arguments)


def test_row_counts_must_agree() -> None:
    one, two = pl.Series([[1]]), pl.Series([[1], [1]])
    with pytest.raises(ValueError, match=r"token_ends: wanted 1 rows, .* got 2"):
        kernels.sentence_probabilities(pl.Series([[-1.0]]), two, one)
    with pytest.raises(ValueError, match=r"sentence_ends: wanted 1 rows, .* got 2"):
        kernels.sentence_probabilities(pl.Series([[-1.0]]), one, two)


def reference_divergence(teacher: list[float], student: list[float], beta: float) -> dict[str, Any]:
    deltas = [t - s for t, s in zip(teacher, student, strict=True) if not math.isnan(t - s)]
    teacher_count = sum(delta > beta for delta in deltas)
    student_count = sum(delta < -beta for delta in deltas)
    return {
        "teacher": teacher_count,
        "student": student_count,
        "common": len(deltas) - teacher_count - student_count,
        "mean_delta": sum(deltas) / len(deltas) if deltas else None,
    }


@st.composite
def probability_pair(draw: st.DrawFn) -> tuple[Any, Any]:
    size = draw(st.integers(0, 8))
    sides: list[Any] = [draw(st.lists(PROBABILITIES, min_size=size, max_size=size)) for _ in range(2)]
    if draw(st.integers(0, 9)) == 0:
        sides[draw(st.integers(0, 1))] = None
    return sides[0], sides[1]


@given(st.lists(probability_pair(), max_size=6), st.sampled_from([0.0, 0.05, 0.1, 0.5, 2.0]), st.data())
def test_divergence_counts_by_beta(rows: list[tuple[Any, Any]], beta: float, data: st.DataObject) -> None:
    teacher, student = ([row[side] for row in rows] for side in range(2))
    got = kernels.divergence(data.draw(forms(teacher, FLOATS)), data.draw(forms(student, FLOATS)), beta)
    counts = dict.fromkeys(["teacher", "student", "common"], pl.UInt32)
    assert got.dtype == pl.Struct({**counts, "mean_delta": pl.Float32})
    for row, counted in zip(rows, got.to_list(), strict=True):
        if None in row:
            assert counted is None
            continue
        wanted = reference_divergence(row[0], row[1], beta)
        mean, wanted_mean = counted.pop("mean_delta"), wanted.pop("mean_delta")
        assert counted == wanted
        assert (mean is None and wanted_mean is None) or math.isclose(mean, wanted_mean, abs_tol=1e-6)


def test_divergence_refuses_unequal_rows_and_a_wrong_beta() -> None:
    one, two = pl.Series([[0.5]]), pl.Series([[0.5, 0.5]])
    with pytest.raises(ValueError, match="row 0: wanted the same sentences twice: 1 of the teacher, got 2"):
        kernels.divergence(one, two)
    for beta in (-0.1, math.nan, INF):
        with pytest.raises(ValueError, match="beta: wanted a finite difference"):
            kernels.divergence(one, one, beta)
    with pytest.raises(TypeError):
        kernels.divergence(one, one, "0.1")  # type: ignore[arg-type]


@st.composite
def two_models(draw: st.DrawFn) -> tuple[Any, ...]:
    """Logprobs and token ends of teacher and student, and the sentence ends that they share."""
    logprobs, token_ends, sentence_ends = draw(response())
    length = token_ends[-1] if token_ends else 0
    others = sorted(draw(st.lists(st.integers(0, length), max_size=30)))
    others += [length] if length or draw(st.booleans()) else []
    theirs = draw(st.lists(LOGPROBS, min_size=len(others), max_size=len(others)))
    if not length and sentence_ends:
        sentence_ends = None
    row: list[Any] = [logprobs, token_ends, theirs, others, sentence_ends]
    if draw(st.integers(0, 9)) == 0:
        row[draw(st.integers(0, 3))] = None
    return tuple(row)


@given(st.lists(two_models(), max_size=6), st.floats(0, 1), st.data())
def test_comparing_is_both_probabilities_and_their_divergence(
    rows: list[tuple[Any, ...]], beta: float, data: st.DataObject
) -> None:
    columns = [list(column) for column in zip(*rows, strict=True)] or [[]] * 5
    dtypes = (FLOATS, TOKENS, FLOATS, TOKENS, TOKENS)
    arguments = [data.draw(forms(column, dtype)) for column, dtype in zip(columns, dtypes, strict=True)]
    got = kernels.compare_sentences(*arguments, beta)
    teacher = kernels.sentence_probabilities(arguments[0], arguments[1], arguments[4])
    student = kernels.sentence_probabilities(arguments[2], arguments[3], arguments[4])
    counts = kernels.divergence(teacher, student, beta).struct.unnest()
    wanted = pl.DataFrame({"p_teacher": teacher, "p_student": student}).hstack(counts)
    assert got.equals(wanted)


def test_comparing_names_the_argument_and_the_row() -> None:
    logprobs, ends = pl.Series([[-1.0]]), pl.Series([[2]])
    with pytest.raises(ValueError, match=r"student_logprobs: wanted 1 rows, .* got 0"):
        kernels.compare_sentences(logprobs, ends, logprobs.clear(), ends, ends)
    with pytest.raises(ValueError, match="row 0: wanted one logprob a token"):
        kernels.compare_sentences(logprobs, ends, logprobs, pl.Series([[1, 2]]), ends)
    with pytest.raises(ValueError, match="beta: wanted a finite difference"):
        kernels.compare_sentences(logprobs, ends, logprobs, ends, ends, -1.0)
