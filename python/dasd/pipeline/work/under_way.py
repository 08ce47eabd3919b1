"""Rows of a unit that isn't complete yet: kept as they come, so that a kill costs none that is finished.

They lie in the stage's scratch directory, a few rows a file, until the unit is whole and becomes one part of the
stage. The stage's fingerprint vouches for what they were made from.
"""

from __future__ import annotations

import io
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from dasd.base.checksums import checksum
from dasd.base.files import watch_disk, write_whole
from dasd.base.schemas import Schema
from dasd.base.seeds import digest
from dasd.base.small_files import regular
from dasd.pipeline.work.stage import StageContext

__all__ = ["UnderWay"]

FOLDER = "under-way"
SAVE_SECONDS = 1.0
"""Rows that are held are written after this time: all that a kill costs of what is finished."""
_NOTES = "notes"


class UnderWay:
    """The finished rows of one frame of one unit, and what was counted with them."""

    def __init__(self, context: StageContext, unit: str, schema: Schema) -> None:
        """Reads what an earlier, interrupted start left. A file that was altered is told of and dropped."""
        self._folder = context.writer.scratch() / FOLDER
        self._stem = digest(unit, schema.name)
        self._schema = schema
        self._frames = [schema.empty()]
        self.notes: Counter[str] = Counter()
        files = sorted(self._folder.glob(f"{self._stem}-*.parquet"))
        for file in files:
            rows = _read(file, schema)
            if rows is None:
                context.console.warn(f"{file} was altered; its rows are generated again")
                file.unlink()
                continue
            self.notes.update(json.loads(rows.get_column(_NOTES)[0]))
            self._frames.append(rows.drop(_NOTES))
        self._next = 1 + max((_number(file) for file in files), default=-1)
        self._held: list[pl.DataFrame] = []
        self._saved = time.monotonic()

    @property
    def rows(self) -> pl.DataFrame:
        """All rows, in the order in which they came."""
        return pl.concat([*self._frames, *self._held])

    @contextmanager
    def saved(self) -> Iterator[None]:
        """Whatever ends the work inside, what is held goes to the disk first."""
        try:
            yield
        except BaseException:
            self._save()
            raise

    def hold(self, rows: pl.DataFrame) -> None:
        """Keep rows in memory, and write what is held every ``SAVE_SECONDS``. Raises DiskFullError."""
        self._held.append(rows.select(list(self._schema.columns)))
        if time.monotonic() - self._saved >= SAVE_SECONDS:
            self._save()

    def _save(self) -> None:
        held, self._held = pl.concat([self._schema.empty(), *self._held]), []
        if held.height:
            self.add(held)
        self._saved = time.monotonic()

    def add(self, rows: pl.DataFrame, notes: Mapping[str, int] | None = None) -> None:
        """Keep rows, at least one, and add to the counts: both are on the disk when this returns, or neither.

        Raises DiskFullError.
        """
        buffer = io.BytesIO()
        kept = rows.select(list(self._schema.columns))
        noted = json.dumps(dict(notes or {}))
        kept.with_columns(pl.lit(noted).alias(_NOTES)).write_parquet(buffer, compression="zstd")
        data = buffer.getvalue()
        with watch_disk(self._folder.parent, len(data)):
            self._folder.mkdir(exist_ok=True)
        write_whole(self._folder / f"{self._stem}-{self._next:06d}-{checksum(data)}.parquet", data)
        self._next += 1
        self._frames.append(kept)
        self.notes.update(notes or {})

    def forget(self) -> None:
        """Remove the files, and drop what is held: the unit is done, or is to be asked again."""
        self._held = []
        for file in self._folder.glob(f"{self._stem}-*.parquet"):
            file.unlink()


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
