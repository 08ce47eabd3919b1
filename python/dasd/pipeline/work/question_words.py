"""What questions ask, in words: the unit in which they are compared, whatever models a recipe has.

A word is a number, a run of letters, or any other character; letters of scripts that are written without blanks
are words of their own. Upper and lower case are the same.
"""

from __future__ import annotations

import polars as pl

__all__ = ["TEMPLATED", "asked_texts", "own_ngrams", "word_ids"]

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}"
_WORD = rf"\p{{N}}+|[[\p{{L}}\p{{M}}_]--[{_UNSPACED}]]+|\S"
TEMPLATED = 10
"""Questions of a source from which on what they share is their template."""
_MIX = 0x9E3779B97F4A7C15
"""Odd and without a pattern: multiplying by it, modulo 2**64, spreads a hash."""
_ROWS_AT_ONCE = 4096
"""Texts whose words are in memory together; numbers take a sixth of the room."""


def asked_texts(questions: pl.DataFrame) -> pl.Series:
    """The users' turns of each conversation, a line each; a system prompt is the same everywhere."""
    turn = pl.element().struct
    users = turn.field("content").filter(turn.field("role") == "user")
    return questions.select(text=pl.col("messages").list.eval(users).list.join("\n")).to_series()


def word_ids(texts: pl.Series) -> pl.Series:
    """list<u32>: a number for each word, the same for the same word everywhere."""
    number = (pl.element().hash(0) & 0xFFFFFFFF).cast(pl.UInt32)
    words = pl.col("text").str.to_lowercase().str.extract_all(_WORD).list.eval(number)
    frame = texts.to_frame("text")
    parts = [frame.slice(start, _ROWS_AT_ONCE).select(words) for start in range(0, len(texts), _ROWS_AT_ONCE)]
    return pl.concat(parts).to_series() if parts else pl.Series(dtype=pl.List(pl.UInt32))


def _ngrams(words: pl.Series, ngram: int) -> pl.DataFrame:
    """``row`` (u32) and ``gram`` (u64, a hash) of every n-gram of every row; a shorter row is one n-gram."""
    flat = words.to_frame("word").with_row_index("row").explode("word").drop_nulls()
    row, gram = pl.col("row"), pl.lit(0, pl.UInt64)
    for step in range(ngram):
        inside = row.shift(-step) == row
        word = pl.when(inside).then(pl.col("word").shift(-step)).otherwise(0).cast(pl.UInt64)
        gram = (gram + word) * pl.lit(
            _MIX, pl.UInt64
        )  # behind the word, so that it too reaches the upper half
    left = pl.len().over("row") - pl.int_range(pl.len()).over("row")
    starts = (left >= ngram) | (left == pl.len().over("row"))  # a short row has one, whole
    return flat.select("row", gram=gram, starts=starts).filter("starts").drop("starts")


def own_ngrams(texts: pl.DataFrame, ngram: int, template_share: float) -> pl.DataFrame:
    """``row`` (u32), ``gram`` (u64) and ``own`` (bool) of every n-gram of words, once a question.

    ``texts``: source and text. An n-gram that at least ``TEMPLATED`` questions of a source have, and at
    least ``template_share`` of them, is the source's template and no question's own: an instruction before all of
    them, or the wording of a procedural set.
    """
    sources = texts.select(pl.col("source").rank("dense"), size=pl.len().over("source"))
    grams = _ngrams(word_ids(texts["text"]), ngram).unique(maintain_order=True)
    holders = pl.len().over("source", "gram")
    own = (holders < TEMPLATED) | (holders < template_share * pl.col("size"))
    return grams.join(sources.with_row_index("row"), on="row", maintain_order="left").select(
        "row", "gram", own=own
    )
