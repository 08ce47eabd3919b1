"""How long chosen responses are: samples and their scores, read side by side."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from dasd.base.frames import only
from dasd.base.id_set import IdSet
from dasd.errors import StoreError

__all__ = ["chosen_lengths", "longest_chosen"]


def chosen_lengths(
    samples: pl.LazyFrame, scores: pl.LazyFrame | None, chosen: IdSet
) -> Iterator[pl.DataFrame]:
    """question_id and ``tokens`` (u32) of the chosen responses, in the order of ``samples``.

    ``scores``: whose tokens count, of the same responses in the same order, others among them; None: the samples' own
    do. Raises StoreError where a chosen response has no scores.
    """
    tokens = pl.col("token_ids").list.len()
    if scores is None:
        for rows in samples.select("sample_id", "question_id", tokens=tokens).collect_batches():
            yield only(rows, chosen).drop("sample_id")
        return
    lengths = scores.select("sample_id", tokens=tokens)
    scored = (only(rows, chosen) for rows in lengths.collect_batches())
    held = lengths.head(0).collect()
    for rows in samples.select("sample_id", "question_id").collect_batches():
        wanted = only(rows, chosen)
        while held.height < wanted.height and (more := next(scored, None)) is not None:
            held = pl.concat([held, more])
        here, held = held.head(wanted.height), held.slice(wanted.height)
        if not here.get_column("sample_id").equals(wanted.get_column("sample_id")):
            raise StoreError("scores don't belong to the samples that were chosen; run stage score again")
        yield wanted.select("question_id", here.get_column("tokens"))


def longest_chosen(samples: pl.LazyFrame, scores: pl.LazyFrame | None, chosen: IdSet) -> pl.LazyFrame:
    """question_id and ``tokens`` of the longest of each question's, in any order; else as ``chosen_lengths``."""
    empty = pl.DataFrame(schema={"question_id": pl.String, "tokens": pl.UInt32})
    found = pl.concat([empty, *chosen_lengths(samples, scores, chosen)])
    return found.lazy().group_by("question_id").agg(pl.col("tokens").max())
