"""Rows of a unit that isn't complete yet: kept as they come, so that a kill costs none that is finished.

They lie in the stage's scratch directory, a few rows a file, until the unit and all before it are whole and it becomes
one part of the stage. The stage's fingerprint vouches for what they were made from.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from dasd.base.checksums import checksum
from dasd.base.files import watch_disk, write_whole
from dasd.base.schemas import Schema
from dasd.base.seeds import digest
from dasd.base.small_files import regular
from dasd.errors import StoreError
from dasd.pipeline.work.stage import StageContext

__all__ = ["UnderWay"]

FOLDER = "under-way"
_NOTES = "notes"


class UnderWay:
    """The finished rows of one frame of one unit, and what was counted with them; held in memory until ``save``."""

    def __init__(self, context: StageContext, unit: str, schema: Schema) -> None:
        """``resume`` before anything else: what an earlier start left may not be written over."""
        self._console = context.console
        self._folder = context.writer.scratch() / FOLDER
        self._stem = digest(unit, schema.name)
        self._schema = schema
        self._saved: list[Path] = []
        self._next = 0
        self._held: list[pl.DataFrame] = []
        self._held_notes: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        """Counts of all rows, held ones included."""

    def resume(self) -> pl.DataFrame:
        """The rows that an earlier, interrupted start left. A file that was altered is told of and dropped."""
        frames = [self._schema.empty()]
        for file in sorted(self._folder.glob(f"{self._stem}-*.parquet")):
            self._next = _number(file) + 1
            rows = _read(file, self._schema)
            if rows is None:
                self._console.warn(f"{file} was altered; its rows are generated again")
                file.unlink()
                continue
            self.notes.update(json.loads(rows.get_column(_NOTES)[0]))
            self._saved.append(file)
            frames.append(rows.drop(_NOTES))
        return pl.concat(frames)

    @property
    def rows(self) -> pl.DataFrame:
        """All rows, in the order in which they came. Raises StoreError where a file was altered since it was written.

        What is saved is read back: a unit may wait long for the answer before it, and many units wait with it.
        """
        frames = [self._schema.empty()]
        for file in self._saved:
            rows = _read(file, self._schema)
            if rows is None:
                raise StoreError(
                    f"{file} was altered while the stage runs; give the same command again: its rows are generated anew"
                )
            frames.append(rows.drop(_NOTES))
        return pl.concat([*frames, *self._held])

    def hold(self, rows: pl.DataFrame, notes: Mapping[str, int] | None = None) -> None:
        """Keep rows in memory, and add to the counts."""
        self._held.append(rows.select(list(self._schema.columns)))
        self._held_notes.update(notes or {})
        self.notes.update(notes or {})

    def save(self) -> None:
        """Write what is held: rows and their counts are on the disk when this returns, or neither.

        Raises DiskFullError.
        """
        held = pl.concat([self._schema.empty(), *self._held])
        if not held.height:
            return
        buffer = io.BytesIO()
        noted = json.dumps(dict(self._held_notes))
        held.with_columns(pl.lit(noted).alias(_NOTES)).write_parquet(buffer, compression="zstd")
        data = buffer.getvalue()
        with watch_disk(self._folder.parent, len(data)):
            self._folder.mkdir(exist_ok=True)
        file = self._folder / f"{self._stem}-{self._next:06d}-{checksum(data)}.parquet"
        write_whole(file, data)
        self._next += 1
        self._saved.append(file)
        self._held, self._held_notes = [], Counter()

    def forget(self) -> None:
        """Remove the files, and drop what is held: the unit is done, or is to be asked again."""
        for file in self._saved:
            file.unlink()
        self._saved, self._held, self._held_notes = [], [], Counter()


def _read(file: Path, schema: Schema) -> pl.DataFrame | None:
    """Rows and notes of a file; None for one that isn't as it was written, or not by this version."""
    data = regular(file).read_bytes()
    if not file.stem.endswith(checksum(data)):
        return None
    try:
        rows = pl.read_parquet(data)
    except PolarsError:
        return None
    wanted = {**schema.columns, _NOTES: pl.String}
    return rows if dict(rows.schema) == wanted and rows.height else None


def _number(file: Path) -> int:
    return int(file.stem.split("-")[-2])
