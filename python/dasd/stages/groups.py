"""Groups of whole questions: what has to see all candidates of a question works through these.

Samples lie question by question, so a group is one slice of rows. Groups are fixed in size, in questions:
memory stays bounded, and results don't depend on the size of other units of work.
"""

from __future__ import annotations

from itertools import pairwise

import polars as pl

from dasd.stages.work import Unit

__all__ = ["QUESTIONS_PER_GROUP", "question_groups"]

QUESTIONS_PER_GROUP = 2048


def question_groups(samples: pl.LazyFrame, size: int = QUESTIONS_PER_GROUP) -> list[Unit]:
    """Slices of the rows of ``samples`` that hold ``size`` whole questions each (the last may hold fewer)."""
    rows = samples.select("question_id").collect().get_column("question_id")
    starts = rows.rle_id().is_first_distinct().arg_true().to_list()
    bounds = [*starts[::size], len(rows)]
    return [Unit(f"{start:08d}-{stop:08d}", start, stop) for start, stop in pairwise(bounds)]
