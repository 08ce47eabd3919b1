"""Training questions that say nearly the same as an earlier one.

Compared are the words of the users' turns, as sets of n-grams. Procedural sets, whose questions share their wording
and are different questions, must not be swallowed; so two questions are alike only if

- their numbers and signs are the same, in order (``9 + 3 - 5`` and ``9 + 3 - 4`` are two questions), and so are
  their reference answers and the turns that aren't the user's; and
- their n-grams are, without those that ten questions of the same source have, which are its template. A question
  that is its template for the greater part is judged by nobody.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from dasd import kernels
from dasd.pipeline.work.question_words import asked_texts, own_ngrams

__all__ = ["Repeat", "near_repeats"]

_NUMBERS_AND_SIGNS = r"\p{N}+|[-+*/^=<>%×÷−]"


@dataclass(frozen=True, slots=True)
class Repeat:
    """Why a question is set aside. Rows are numbers in the frame that was judged."""

    row: int
    of: int
    """The earlier question."""
    similarity: float
    """Jaccard, of the sets of n-grams that aren't the source's template."""


def near_repeats(questions: pl.DataFrame, threshold: float, ngram: int) -> list[Repeat]:
    """Of questions in order, those that have a similarity of ``threshold`` to an earlier one that isn't among them.

    ``questions``: columns messages, answer and source. ``ngram``: words in an n-gram; a shorter question is one.
    """
    texts = questions.select("messages", "answer", "source").with_columns(text=asked_texts(questions))
    kinds = _kinds(texts)
    grams = own_ngrams(texts, ngram, 0.0).filter(pl.col("own").mean().over("row") > 0.5, "own")
    # N-grams of different kinds are told apart, so that one call of the kernel serves all.
    own = grams.join(kinds, on="row").select("row", gram=pl.struct("kind", "gram").hash(0) & 0xFFFFFFFF)
    rows = own.group_by("row").agg(pl.col("gram").cast(pl.UInt32)).sort("row")
    numbers = rows.get_column("row").to_list()
    clusters = kernels.near_duplicates(rows.get_column("gram"), threshold, 1)
    members = rows.with_columns(cluster=clusters).filter(pl.len().over("cluster") > 1)
    found: list[Repeat] = []
    kept: dict[int, list[tuple[int, frozenset[int]]]] = {}
    for row, cell, cluster in members.iter_rows():
        mine = frozenset(cell)
        firsts = kept.setdefault(numbers[cluster], [])
        repeat = next(
            (
                r
                for first, theirs in firsts
                if (r := _repeat(row, mine, first, theirs)).similarity >= threshold
            ),
            None,
        )
        if repeat is None:
            firsts.append((row, mine))
        else:
            found.append(repeat)
    return sorted(found, key=lambda repeat: repeat.row)


def _repeat(row: int, mine: frozenset[int], first: int, theirs: frozenset[int]) -> Repeat:
    return Repeat(row, first, len(mine & theirs) / len(mine | theirs))


def _kinds(questions: pl.DataFrame) -> pl.DataFrame:
    """``row`` and ``kind`` of the questions that may repeat another: at least two have the same kind."""
    turn = pl.element().struct
    others = turn.field("role") + turn.field("content")
    kind = pl.struct(
        pl.col("text").str.extract_all(_NUMBERS_AND_SIGNS),
        pl.col("answer"),
        pl.col("messages").list.eval(others.filter(turn.field("role") != "user")),
    )
    rows = questions.select(kind=kind.hash(0)).with_row_index("row")
    return rows.filter(pl.len().over("kind") > 1)
