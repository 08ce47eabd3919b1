"""A draw among the responses of a whole run, in memory of 8 bytes for each and 16 for each that is drawn."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import numpy as np
import polars as pl

from dasd.base.id_set import IdSet
from dasd.base.seeds import uniform

__all__ = ["drawn_ids"]


def drawn_ids(ids: pl.LazyFrame, count: int, what: str, seed: int) -> IdSet:
    """The ``count`` of ``ids`` that have the lowest draws, of equal ones the first of the alphabet; or all of fewer.

    ``ids``: one column of strings, each of them once. ``what`` keeps draws of different kinds apart.
    """
    numbers = array("d")
    for rows in ids.collect_batches():
        numbers.extend(uniform(what, seed, each) for each in rows.to_series())
    draws = np.frombuffer(numbers)
    if count >= len(draws):
        return IdSet(rows.to_series() for rows in ids.collect_batches())
    if count < 1:
        return IdSet(())
    highest = np.partition(draws, count - 1)[count - 1]
    room = count - int((draws < highest).sum())

    def taken() -> Iterator[pl.Series]:
        place, equal = 0, list[str]()
        for rows in ids.collect_batches():
            here = draws[place : place + rows.height]
            place += rows.height
            yield rows.to_series().filter(pl.Series(here < highest))
            equal.extend(rows.to_series().filter(pl.Series(here == highest)))
        yield pl.Series(sorted(equal)[:room], dtype=pl.String)

    return IdSet(taken())
