"""Small parts become few large ones when a stage ends: the same rows in the same order.

Each merged part is on the disk before a record of progress puts it in the place of those that it was made from, and
these are removed only then: a kill leaves the old parts or the new one.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence, Set

import polars as pl

from dasd.base.checksums import checksum
from dasd.base.files import write_whole
from dasd.errors import DiskFullError
from dasd.store.manifest import MergedRecord, PartRecord, Record
from dasd.store.parts import number_of, parts_that_stand
from dasd.store.stage import StageDirectory

__all__ = ["compact"]

PART_BYTES = 64 << 20
PART_ROWS = 100_000
"""A merged part has no more than these."""
FEW = 32
"""So many parts of a frame are left as they are."""
GROUP_BYTES = 1 << 20
"""Compressed bytes of a row group: what is read for a unit's rows, at least."""

_MERGED = re.compile(r"-\d+-\d+\.parquet$")
_OF_UNIT = re.compile(r"\d+-\d+$")


def compact(stage: StageDirectory, parts: Sequence[PartRecord], done: Set[str]) -> list[PartRecord]:
    """Merge parts of finished units on the disk; returns those that there are now, in order.

    On a disk that has no room what is left stays as it is. Raises StoreError naming a part that is missing or altered.
    """
    merged: list[Record] = []
    try:
        for group in _groups(parts, done):
            stage.verify_parts(group)  # what was altered must not get a checksum of its own
            record = MergedRecord(part=_merge(stage, group), of=tuple(part.file for part in group))
            stage.record(record)
            merged.append(record)
            for part in group:
                (stage.path / part.file).unlink()
            stage.verified.forget(part.file for part in group)
    except DiskFullError:
        pass
    return parts_that_stand([*parts, *merged])


def _groups(parts: Sequence[PartRecord], done: Set[str]) -> Iterator[list[PartRecord]]:
    """Parts that become one: neighbours in their frame, of units of one list, of two at least."""
    frames: dict[str, list[PartRecord]] = {}
    for part in parts:
        frames.setdefault(part.frame, []).append(part)
    for of_frame in frames.values():
        group: list[PartRecord] = []
        size = rows = 0
        begun = any(_MERGED.search(part.file) for part in of_frame)  # before a kill
        for part in of_frame if begun or len(of_frame) > FEW else ():
            room = size + part.bytes <= PART_BYTES and rows + part.rows <= PART_ROWS
            if part.key not in done or not room or (group and _list_of(group[-1]) != _list_of(part)):
                if len(group) > 1:
                    yield group
                group, size, rows = [], 0, 0
            if part.key in done:
                group.append(part)
                size, rows = size + part.bytes, rows + part.rows
        if len(group) > 1:
            yield group


def _list_of(part: PartRecord) -> str:
    """The list of work that the part's unit is a slice of."""
    return _OF_UNIT.sub("", part.key)


def _merge(stage: StageDirectory, group: Sequence[PartRecord]) -> PartRecord:
    """Write the part that takes the place of ``group``. Raises DiskFullError."""
    rows = pl.read_parquet([stage.path / part.file for part in group], glob=False)
    size = sum(part.bytes for part in group)
    of_group = min(max(rows.height * GROUP_BYTES // max(size, 1), 1), max(rows.height, 1))
    buffer = io.BytesIO()
    rows.write_parquet(buffer, compression="zstd", row_group_size=of_group)
    data = buffer.getvalue()
    first, last = group[0], group[-1]
    number = first.file.removesuffix(".parquet").removeprefix(f"part-{first.frame}-").partition("-")[0]
    file = f"part-{first.frame}-{number}-{number_of(last.file):05d}.parquet"
    write_whole(stage.path / file, data)
    part = PartRecord(
        file=file, frame=first.frame, key=last.key, rows=rows.height, bytes=len(data), checksum=checksum(data)
    )
    stage.verified.saw(file, part.checksum, (stage.path / file).stat())
    return part
