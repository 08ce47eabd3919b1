"""A file of rows that is written frame by frame: JSON lines or Parquet, the same bytes for the same frames."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal

import polars as pl

__all__ = ["FileFormat", "RowsFile"]

FileFormat = Literal["jsonl", "parquet"]


class RowsFile:
    """Writes frames of one schema to ``stem`` with the suffix of its format; a context manager.

    Without any frame the file is there and empty (JSON lines), or absent (Parquet, which wants a schema).
    """

    def __init__(self, stem: Path, files: FileFormat) -> None:
        """``stem``: the path without its suffix; dots in it are kept."""
        self.path = stem.with_name(f"{stem.name}.{files}")
        self.rows = 0
        self._lines: IO[bytes] | None = self.path.open("wb") if files == "jsonl" else None
        self._table: Any = None  # pyarrow's ParquetWriter, once the schema is known

    def write(self, frame: pl.DataFrame) -> None:
        """Append rows; a Parquet file gets them as one row group."""
        if self._lines is not None:
            frame.write_ndjson(self._lines)
        else:
            table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
            if self._table is None:
                import pyarrow.parquet as pq

                self._table = pq.ParquetWriter(self.path, table.schema, compression="zstd")
            self._table.write_table(table)
        self.rows += frame.height

    def close(self) -> None:
        """Finish the file. Called by the end of the ``with`` block."""
        if self._lines is not None:
            self._lines.close()
        if self._table is not None:
            self._table.close()

    def __enter__(self) -> RowsFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
