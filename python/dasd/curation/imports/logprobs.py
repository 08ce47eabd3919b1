"""Files of (sample_uuid, token_ids, logprobs), found by uuid: identifiers are in memory, the lists are not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl

from dasd.base.records import BadRow
from dasd.curation.imports.rows import identifier_of
from dasd.curation.sources.values import UNREADABLE, ValueFile

__all__ = ["LogprobFiles"]

_GAP = 64
"""Rows of a Parquet file that are read along rather than begin to read anew."""


class LogprobFiles:
    """Where the log-probabilities of each uuid lie.

    Reading is fast where they lie in the order in which they are asked for, as those do that dasd exports; in any
    other order each batch reads more of the file.
    """

    def __init__(self, files: Sequence[ValueFile]) -> None:
        """Index the files. InputError for one that is torn."""
        self.bad: list[tuple[Path, BadRow]] = []
        """Rows that can't be used, and why."""
        self._files = files
        self._places: dict[str, tuple[int, int]] = {}
        for number, file in enumerate(files):
            for row, found in _identifiers(file):
                if isinstance(found, ValueError):
                    self.bad.append((file.path, BadRow(row, str(found))))
                elif found in self._places:
                    before, first = self._places[found]
                    reason = f"uuid {found} is taken by row {first} of {files[before].path.name}"
                    self.bad.append((file.path, BadRow(row, reason)))
                else:
                    self._places[found] = (number, row)

    def __contains__(self, uuid: str) -> bool:
        return uuid in self._places

    def rest(self, used: set[str]) -> Iterator[tuple[Path, BadRow]]:
        """Rows that no text asked for."""
        for uuid, (file, row) in self._places.items():
            if uuid not in used:
                yield self._files[file].path, BadRow(row, f"no text has uuid {uuid}")

    def take(self, uuids: Sequence[str]) -> Mapping[str, object]:
        """The rows of these uuids, all of which are known."""
        found: dict[str, object] = {}
        for number, file in enumerate(self._files):
            here = sorted((self._places[uuid][1], uuid) for uuid in uuids if self._places[uuid][0] == number)
            for part in _neighbours(here):
                rows = file.take([row for row, _ in part])
                found.update(zip((uuid for _, uuid in part), rows, strict=True))
        return found


def _identifiers(file: ValueFile) -> Iterator[tuple[int, str | ValueError]]:
    if file.is_parquet:
        try:
            schema = pl.scan_parquet(file.path, glob=False).collect_schema()
            names = [name for name in ("sample_uuid", "uuid", "sample_id") if name in schema]
            uuids = pl.scan_parquet(file.path, glob=False).select(names[:1]).collect().to_series()
        except UNREADABLE as error:
            raise file.torn(error) from error
        for row, uuid in enumerate(uuids, 1):
            yield row, str(uuid) if uuid not in (None, "") else ValueError("its uuid is empty")
        return
    for row, value in file:
        try:
            if isinstance(value, ValueError):
                raise value
            yield row, identifier_of(value)
        except ValueError as error:
            yield row, error


def _neighbours(places: Sequence[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    """Sorted places in runs without a wide gap."""
    run: list[tuple[int, str]] = []
    for place in places:
        if run and place[0] - run[-1][0] > _GAP:
            yield run
            run = []
        run.append(place)
    if run:
        yield run
