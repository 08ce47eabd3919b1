"""What a component returned, held against its schema and against what rows of that kind can hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import polars as pl

from dasd.base.records import ContinueRequest, Grade, SampleRequest
from dasd.base.schemas import SAMPLES, Schema, check
from dasd.errors import SchemaError

__all__ = [
    "HIGHEST_LOGPROB",
    "as_rows",
    "check_answers",
    "check_grade",
    "check_identity",
    "check_messages",
    "check_tokens",
    "unchanged",
]

HIGHEST_LOGPROB = 1e-3
"""In nats: a probability is at most 1, and engines round."""

_WORDS = {"finish_reason": ("stop", "length"), "logprobs_mode": ("raw", "processed", "none")}
"""Values that a column of SAMPLES may hold."""

_GRADE: Mapping[str, tuple[type, ...]] = {
    "correct": (bool,),
    "extracted": (str, type(None)),
    "failure": (str, type(None)),
}


def as_rows(value: object, schema: Schema, origin: str) -> pl.DataFrame:
    """``value`` as a frame of ``schema``. Raises SchemaError that names ``origin``."""
    if not isinstance(value, pl.DataFrame):
        got = type(value).__name__
        raise SchemaError(f"{origin} returned a {got}; wanted a polars DataFrame of {schema.name}")
    return check(value, schema, origin)


def check_messages(rows: pl.DataFrame, origin: str) -> None:
    """Each question has messages, each of a role and a content. Raises SchemaError that names ``origin``."""
    role, content = (pl.element().struct.field(name).is_null() for name in ("role", "content"))
    said = pl.col("messages").list
    wrong = rows.filter((said.len() == 0) | said.eval(pl.element().is_null() | role | content).list.any())
    if wrong.height:
        raise SchemaError(
            f"{origin} returned question {wrong['question_id'][0]!r} with no messages, or with one that lacks role or "
            "content; wanted at least one, each with both"
        )


def check_tokens(rows: pl.DataFrame, schema: Schema, origin: str) -> None:
    """Tokens, their ends and their log-probabilities: one to one, ends in order, probabilities of at most 1.

    ``rows``: of SAMPLES or SCORES. Raises SchemaError that names ``origin`` and the row.
    """
    found = rows.select(
        "sample_id",
        tokens=pl.col("token_ids").list.len(),
        ends=pl.col("token_ends").list.len(),
        logprobs=pl.col("logprobs").list.len(),
        nulls=pl.sum_horizontal(
            pl.col("token_ids", "token_ends", "logprobs").list.eval(pl.element().is_null()).list.sum()
        ),
        highest=pl.col("logprobs").list.max(),
        nans=pl.col("logprobs").list.eval(pl.element().is_nan()).list.sum(),
        unordered=pl.col("token_ends") != pl.col("token_ends").list.sort(),
        last=pl.col("token_ends").list.last(),
        room=pl.col("text").str.len_bytes() if schema is SAMPLES else None,
    )
    where = f"{origin} returned {schema.name} row"
    wrong = found.filter((pl.col("tokens") != pl.col("ends")) | (pl.col("logprobs") != pl.col("tokens")))
    if wrong.height:
        sample_id, tokens, ends, logprobs, *_ = wrong.row(0)
        raise SchemaError(
            f"{where} {sample_id} with {tokens} token_ids, {ends} token_ends and {logprobs} logprobs; wanted as "
            "many of each"
        )
    for condition, words in (
        (pl.col("nulls") > 0, "with a null among token_ids, token_ends or logprobs; wanted numbers alone"),
        (pl.col("nans") > 0, "with a log-probability that is NaN; wanted numbers, or no logprobs at all"),
        (
            pl.col("highest") > HIGHEST_LOGPROB,
            "with a log-probability above 0; wanted finite numbers of at most 0",
        ),
        (pl.col("unordered"), "whose token_ends go back; wanted each at the one before it or behind"),
        (pl.col("last") > pl.col("room"), "with token_ends beyond its text; wanted bytes of the text"),
    ):
        bad = found.filter(condition)
        if bad.height:
            raise SchemaError(f"{where} {bad['sample_id'][0]} {words}")


def check_identity(
    rows: pl.DataFrame, requests: Mapping[str, SampleRequest | ContinueRequest], stage: str, origin: str
) -> None:
    """Each SAMPLES row is of the question and candidate that its request was of, for this stage.

    ``requests`` by sample_id. Raises SchemaError that names ``origin`` and the row.
    """
    columns = ("question_id", "candidate", "stage")
    for sample_id, *got in rows.select("sample_id", *columns).iter_rows():
        request = requests[sample_id]
        wanted = (request.question_id, request.candidate, stage)
        for column, there, asked in zip(columns, got, wanted, strict=True):
            if there != asked:
                raise SchemaError(
                    f"{origin} returned samples row {sample_id} with {column} {there!r}; its request's is {asked!r}"
                )
    for column, words in _WORDS.items():
        other = rows.filter(~pl.col(column).is_in(words))
        if other.height:
            sample_id, got = other.select("sample_id", column).row(0)
            raise SchemaError(
                f"{origin} returned samples row {sample_id} with {column} {got!r}; wanted {' or '.join(words)}"
            )


def check_answers(rows: pl.DataFrame, origin: str) -> None:
    """EVAL rows end for a known reason, after a finite time. Raises SchemaError that names ``origin`` and the row."""
    reasons, seconds = _WORDS["finish_reason"], pl.col("seconds")
    for column, wrong, wanted in (
        ("finish_reason", ~pl.col("finish_reason").is_in(reasons), " or ".join(reasons)),
        ("seconds", ~seconds.is_finite() | (seconds < 0), "a finite number of at least 0"),
    ):
        other = rows.filter(wrong)
        if other.height:
            question_id, attempt, got = other.select("question_id", "attempt", column).row(0)
            raise SchemaError(
                f"{origin} returned attempt {attempt} at question {question_id} with {column} {got!r}; wanted {wanted}"
            )


def check_grade(grade: Grade, origin: str) -> None:
    """Raise SchemaError that names ``origin`` for a grade whose values aren't of its types."""
    for name, kinds in _GRADE.items():
        value = getattr(grade, name)
        if not isinstance(value, kinds):
            wanted = " or ".join(kind.__name__ for kind in kinds)
            got = f"{value!r:.80} ({type(value).__name__})"
            raise SchemaError(f"{origin} returned a Grade with {name}={got}; wanted {wanted}")


@contextmanager
def unchanged(rows: pl.DataFrame, origin: str) -> Iterator[None]:
    """Raise SchemaError that names ``origin`` where the code inside changed the frame, with which the run goes on."""
    before = rows.clone()
    yield
    if rows.columns != before.columns or not rows.equals(before):
        raise SchemaError(f"{origin} changed the frame that it was given; wanted a frame of its own")
