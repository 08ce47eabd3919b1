"""The rows of one frame as they lie in a stage's parts: read whole, or by slices that cost by the slice."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from itertools import accumulate
from pathlib import Path

import polars as pl

from dasd.base.schemas import ALL
from dasd.store.manifest import MergedRecord, PartRecord, Record

__all__ = ["PartRows", "number_of", "parts_that_stand", "scan"]

AHEAD_BYTES = 1 << 20
"""Compressed bytes that are read at a time, where a slice has fewer: slices are mostly asked for in order."""


def scan(directory: Path, parts: Iterable[PartRecord], frame: str) -> pl.LazyFrame:
    """The rows of one frame among a stage's parts, in order; the schema's empty frame if it has none."""
    files = [directory / part.file for part in parts if part.frame == frame]
    return pl.scan_parquet(files, glob=False) if files else ALL[frame].empty().lazy()


def parts_that_stand(records: Iterable[Record]) -> list[PartRecord]:
    """The parts that records of progress tell of, merged ones in the place of those that they were made from."""
    found: list[PartRecord | None] = []
    places: dict[str, int] = {}
    for record in records:
        if isinstance(record, PartRecord):
            places[record.file] = len(found)
            found.append(record)
        elif isinstance(record, MergedRecord):
            first = places[record.of[0]]
            for file in record.of:
                found[places.pop(file)] = None
            found[first] = record.part
            places[record.part.file] = first
    return [part for part in found if part is not None]


def number_of(file: str) -> int:
    """The last number in a part's name."""
    return int(file.removesuffix(".parquet").rpartition("-")[2])


class PartRows:
    """The rows of one frame among a stage's parts, in order.

    Records of the parts say how many rows each has, so a slice opens those that it overlaps and no other.
    """

    def __init__(self, directory: Path, parts: Iterable[PartRecord], frame: str) -> None:
        """``parts``: those of the stage, of other frames too."""
        found = [part for part in parts if part.frame == frame]
        self._files = [directory / part.file for part in found]
        self._starts = [0, *accumulate(part.rows for part in found)]
        self._reach = [part.rows * AHEAD_BYTES // max(part.bytes, 1) for part in found]
        self._empty = ALL[frame].empty()
        self._columns = tuple(self._empty.columns)
        self._held = (0, self._empty)  # what was read last, and the number of its first row

    @property
    def height(self) -> int:
        """Number of rows."""
        return self._starts[-1]

    @property
    def files(self) -> list[Path]:
        """The parts, in order."""
        return list(self._files)

    def select(self, columns: Sequence[str]) -> PartRows:
        """The same rows with these columns only."""
        found = copy(self)
        found._columns = tuple(columns)
        found._held = (0, self._empty.select(columns))
        return found

    def head(self, rows: int) -> PartRows:
        """The first rows."""
        found = self.select(self._columns)
        found._starts = [min(start, rows) for start in self._starts]
        return found

    def batches(self, size: int) -> Iterator[pl.DataFrame]:
        """All rows, ``size`` at a time."""
        for start in range(0, self.height, size):
            yield self.slice(start, start + size)

    def take(self, numbers: pl.Series) -> pl.DataFrame:
        """The rows of these numbers, which ascend; reads from the first of them to the last."""
        if not len(numbers):
            return self.slice(0, 0)
        first = int(numbers[0])
        return self.slice(first, int(numbers[-1]) + 1)[(numbers - first).to_list()]

    def slice(self, start: int, stop: int) -> pl.DataFrame:
        """Rows ``start`` up to ``stop``, or up to the end."""
        stop = min(stop, self.height)
        frames = [self._empty.select(self._columns)]
        place = bisect_right(self._starts, start) - 1
        while start < stop:
            taken = min(stop, self._starts[place + 1]) - start
            if taken:
                frames.append(self._read(place, start, taken))
            start += taken
            place += 1
        return frames[-1] if len(frames) == 2 else pl.concat(frames)

    def _read(self, place: int, start: int, count: int) -> pl.DataFrame:
        """``count`` rows from row ``start`` on, which lie in part ``place``; reads on a little for the next slice."""
        first, held = self._held
        if not first <= start <= start + count <= first + held.height:
            ahead = min(max(count, self._reach[place]), self._starts[place + 1] - start)
            rows = pl.scan_parquet(self._files[place], glob=False).select(self._columns)
            first, held = start, rows.slice(start - self._starts[place], ahead).collect()
            self._held = (first, held)
        return held.slice(start - first, count)
