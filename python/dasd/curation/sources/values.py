"""Rows of a user's file, JSON lines, Parquet or CSV: read in order once, then any of them again by number."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import polars as pl

from dasd.base.records import BadRow
from dasd.errors import InputError

__all__ = ["UNREADABLE", "ValueFile"]

UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)
"""What polars raises for a table that it can't read; of a damaged one it may panic, which is no Exception."""

_ROWS_AT_ONCE = 256
_LONGEST_LINE = 1 << 26
"""Bytes of a line; a response of 64K tokens with their log-probabilities has three million."""


class ValueFile:
    """A ``.parquet`` or ``.csv`` file, or JSON lines under any other name.

    Rows are never all in memory, but for those of a CSV file, whose cells are texts (empty ones null).
    """

    def __init__(self, path: Path, what: str) -> None:
        """``what`` is in it, for messages: ``"question"``. Raises InputError for a file that isn't there."""
        self.path = path
        self.what = what
        self.is_parquet = path.suffix == ".parquet"
        self.is_csv = path.suffix == ".csv"
        if not path.is_file():
            raise InputError(f"{path}: no such {what} file; wanted a .jsonl, .parquet or .csv file")
        self._starts = array("Q")  # where each line starts, as far as the file was read
        self._csv: pl.DataFrame | None = None

    def __iter__(self) -> Iterator[tuple[int, dict[str, object] | ValueError]]:
        """Values and their numbers from 1: lines of JSON lines (empty ones are left out), rows of a table.

        A line that isn't a JSON object comes as the ValueError that says so. Raises InputError for a torn Parquet file,
        and for a CSV file whose rows aren't like its header.
        """
        if self.is_parquet or self.is_csv:
            start = 0
            while rows := self._rows(start, _ROWS_AT_ONCE):
                yield from enumerate(rows, start + 1)
                start += len(rows)
            return
        self._starts = array("Q")
        place = 0
        with self.path.open("rb") as lines:
            for number, line in enumerate(iter(partial(lines.readline, _LONGEST_LINE), b""), 1):
                self._starts.append(place)
                too_long = len(line) == _LONGEST_LINE and not line.endswith(b"\n")
                while too_long and (rest := lines.readline(_LONGEST_LINE)):
                    if rest.endswith(b"\n"):
                        break
                place = lines.tell()
                try:
                    if too_long:
                        raise ValueError(
                            f"wanted a line of at most {_LONGEST_LINE} bytes; this one is longer"
                        )
                    text = _text(line, number)
                    if not text:
                        continue
                    value = _json(text)
                    if not isinstance(value, dict):
                        raise ValueError(f"wanted a JSON object, got {type(value).__name__}")
                    yield number, value
                except ValueError as error:
                    yield number, error

    def read(self, add: Callable[[int, dict[str, object]], None], advice: str = "") -> list[BadRow]:
        """Give every row and its number to ``add``, which raises ValueError for one that can't be used.

        Returns those rows with their reasons. Raises InputError for a file without rows, and for one of which
        more than half can't be used: it isn't what it is taken for. ``advice`` ends the message of the latter.
        """
        bad: list[BadRow] = []
        total = 0
        for number, value in self:
            total += 1
            try:
                if isinstance(value, ValueError):
                    raise value
                add(number, value)
            except ValueError as error:
                bad.append(BadRow(number, str(error)))
        if not total:
            unit = "row" if self.is_parquet or self.is_csv else "JSON object a line"
            raise InputError(f"{self.path}: the file holds no {self.what}; wanted at least one {unit}")
        if len(bad) * 2 > total:
            first = bad[0]
            raise InputError(
                f"{self.path}: {len(bad)} of {total} rows can't be used, "
                f"first row {first.row}: {first.reason}{advice}"
            )
        return bad

    def take(self, numbers: Sequence[int]) -> list[object]:
        """The values with these numbers, in their order, after the file was read once."""
        if not numbers:
            return []
        if self.is_parquet or self.is_csv:
            first = min(numbers)
            rows = self._rows(first - 1, max(numbers) - first + 1, [number - first for number in numbers])
            return list(rows)
        found = []
        with self.path.open("rb") as lines:
            for number in numbers:
                lines.seek(self._starts[number - 1])
                found.append(_json(_text(lines.readline(), number)))
        return found

    def torn(self, error: BaseException) -> InputError:
        """What to raise of a table that polars can't read, with one of ``UNREADABLE`` as its cause."""
        kind = "CSV file with a header" if self.is_csv else "Parquet file"
        why = "its content is damaged" if isinstance(error, pl.exceptions.PanicException) else error
        return InputError(f"{self.path}: wanted a {kind}, but it can't be read: {why}")

    def _rows(self, start: int, count: int, chosen: Sequence[int] | None = None) -> list[object]:
        try:
            if self.is_csv:
                if self._csv is None:
                    self._csv = pl.read_csv(self.path, infer_schema=False, glob=False)
                table = self._csv.slice(start, count)
            else:
                table = pl.scan_parquet(self.path, glob=False).slice(start, count).collect()
        except pl.exceptions.NoDataError:
            return []
        except UNREADABLE as error:
            raise self.torn(error) from error
        return (table if chosen is None else table[list(chosen)]).rows(named=True)  # type: ignore[return-value]


def _text(line: bytes, number: int) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8: {error.reason} at byte {error.start} of the line") from error


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg.removesuffix(' at')} at column {error.colno}") from error
    except RecursionError as error:
        raise ValueError("not JSON: nested too deeply") from error
