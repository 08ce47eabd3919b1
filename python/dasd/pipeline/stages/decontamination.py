"""Training questions that benchmarks hold too, by n-gram overlap: which, how much, and with which question.

Compared are the users' turns, in words. What all questions of a set begin or end with (an instruction such as "put
the answer in a box") says nothing about them and is left out. What many of them share (the wording of a procedural
set) isn't enough: the others of a question's n-grams have to be a benchmark's too.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

import polars as pl

from dasd import kernels
from dasd.base.records import SetAside
from dasd.pipeline.work.question_sources import load_source
from dasd.pipeline.work.question_words import TEMPLATED, asked_texts, own_ngrams, word_ids
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry
from dasd.recipe.curation_settings import DedupSettings

__all__ = ["Overlap", "benchmark_questions", "contamination", "nearest"]

TEMPLATE_SHARE = 0.1
"""Share of a set's questions that have an n-gram from which on it is of their template."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Why a training question is dropped."""

    share: float
    """Of its n-grams, those that occur in any benchmark question."""
    benchmark: str
    question_id: str
    """The benchmark question that holds most of them."""
    question_share: float
    """Of its n-grams, those that occur in that one."""


def benchmark_questions(
    recipe: Recipe, registry: Registry, evaluation: pl.DataFrame
) -> tuple[pl.DataFrame, list[SetAside]]:
    """Question id, source and messages of the evaluation's questions and of those of ``dedup.against``.

    Rows that one of these sources can't use are returned beside them.
    """
    columns = ["question_id", "source", "messages"]
    frames = [evaluation.select(columns)]
    set_aside: list[SetAside] = []
    for source in recipe.settings.dedup.against:
        read = load_source(registry, source, "eval", recipe.settings.seed)
        set_aside += read.set_aside
        frames.append(read.questions.select(columns))
    return pl.concat(frames), set_aside


def contamination(
    questions: pl.DataFrame, benchmarks: pl.DataFrame, settings: DedupSettings
) -> dict[int, Overlap]:
    """The questions over ``settings.contamination``, by their row.

    ``questions``: messages and source; ``benchmarks``: as from ``benchmark_questions``. A question of fewer than
    ``settings.contamination_ngram`` words is found only where a benchmark question has all of its words and no
    others.
    """
    if settings.contamination is None or not benchmarks.height or not questions.height:
        return {}
    ngram, limit = settings.contamination_ngram, settings.contamination
    reference, asked = (_grams(rows, ngram) for rows in (benchmarks, questions))
    shares, own_shares = (kernels.overlap(asked[name], reference["grams"], 1) for name in ("grams", "own"))
    over = (shares > limit) & (own_shares > limit)
    best = nearest(asked["grams"].filter(over), reference["grams"])
    found = _the_same(questions, benchmarks)
    for row, share, (number, most) in zip(asked["row"].filter(over), shares.filter(over), best, strict=True):
        at = reference["row"][number]
        found[row] = Overlap(share, benchmarks["source"][at], benchmarks["question_id"][at], most)
    return found


def _the_same(questions: pl.DataFrame, benchmarks: pl.DataFrame) -> dict[int, Overlap]:
    """The questions of which a benchmark question has all the words, and no others."""
    first: dict[tuple[int, ...], int] = {}
    for row, words in enumerate(word_ids(asked_texts(benchmarks)).to_list()):
        first.setdefault(tuple(words), row)
    found = {}
    for row, words in enumerate(word_ids(asked_texts(questions)).to_list()):
        if (at := first.get(tuple(words))) is not None:
            found[row] = Overlap(1.0, benchmarks["source"][at], benchmarks["question_id"][at], 1.0)
    return found


def _grams(questions: pl.DataFrame, ngram: int) -> pl.DataFrame:
    """``row``, ``grams`` and ``own`` (list<u32>): a question's n-grams, and those that aren't its set's wording."""
    texts = _without_template(questions)
    long = texts.with_row_index("row").filter(word_ids(texts["text"]).list.len() >= ngram).select("row")
    grams = own_ngrams(texts, ngram, TEMPLATE_SHARE).join(long, on="row")
    half = (pl.col("gram") // pl.lit(2**32, pl.UInt64)).cast(pl.UInt32)  # into which all words were mixed
    return grams.group_by("row").agg(grams=half, own=half.filter("own")).sort("row")


def _templates(texts: pl.DataFrame) -> pl.DataFrame:
    """source, ``start`` and ``stop``: characters that all texts of a source begin and end with, whole words.

    Of strings in order, the first and the last have in common what all have.
    """
    backwards = pl.col("text").str.reverse()
    ends = (
        texts.group_by("source")
        .agg(
            first=pl.col("text").min(),
            last=pl.col("text").max(),
            first_end=backwards.min(),
            last_end=backwards.max(),
            size=pl.len(),
        )
        .filter(pl.col("size") >= TEMPLATED)
        .sort("source")
    )
    rows = [
        (source, _common(first, last), _common(first_end, last_end))
        for source, first, last, first_end, last_end, _ in ends.iter_rows()
    ]
    columns = {"source": pl.String, "start": pl.Int64, "stop": pl.Int64}
    return pl.DataFrame(rows, schema=columns, orient="row")


def _common(first: str, last: str) -> int:
    """Length of the common beginning, cut back to the last blank in it."""
    size = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), None)
    if size is None:
        return 0  # one holds the other whole: cutting would leave nothing of it
    while size and not first[size - 1].isspace():
        size -= 1
    return size


def _without_template(questions: pl.DataFrame) -> pl.DataFrame:
    """source and ``text``, what users ask less what their set begins and ends with."""
    texts = questions.select("source").with_columns(text=asked_texts(questions))
    start, stop = (pl.col(name).fill_null(0) for name in ("start", "stop"))
    length = (pl.col("text").str.len_chars().cast(pl.Int64) - start - stop).clip(lower_bound=0)
    return texts.join(_templates(texts), on="source", how="left", maintain_order="left").select(
        "source", text=pl.col("text").str.slice(start, length)
    )


def nearest(rows: pl.Series, reference: pl.Series) -> list[tuple[int, float]]:
    """For each row of n-grams the reference row that holds most of them, and the share that it holds."""
    asked = rows.to_list()
    wanted = {gram for row in asked for gram in row}
    holders: dict[int, list[int]] = defaultdict(list)
    for number, grams in enumerate(reference.to_list()):
        for gram in wanted.intersection(grams):
            holders[gram].append(number)
    found = []
    for row in asked:
        counts = Counter(number for gram in row for number in holders[gram])
        number, count = min(counts.items(), key=lambda item: (-item[1], item[0]))
        found.append((number, count / len(row)))
    return found
