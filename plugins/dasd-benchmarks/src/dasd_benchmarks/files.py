"""Rows of a benchmark's file, in whatever form the hub or the user has it."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import polars as pl

from dasd.api import InputError

__all__ = ["KINDS", "is_data", "read_rows", "sha256_of"]

KINDS = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet", ".csv")
_LONGEST_CELL = 1 << 30


def is_data(path: Path) -> bool:
    """Whether the name is that of a file that ``read_rows`` reads."""
    return path.name.lower().endswith(KINDS)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hexadecimal. Raises InputError where it can't be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}; wanted a file") from error


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, object] | ValueError]]:
    """Rows and their numbers from 1 (a line of JSON lines, a row of a table); ValueError for one that is none.

    Raises InputError for a file of another kind, or one that is torn.
    """
    name = path.name.lower()
    try:
        if name.endswith(".parquet"):
            yield from enumerate(pl.read_parquet(path, glob=False).iter_rows(named=True), 1)
        elif name.endswith(".csv"):
            yield from _csv(path)
        elif name.endswith((".json", ".json.gz", ".jsonl", ".jsonl.gz")):
            with _opened(path) as file:
                yield from _array(file) if _starts_an_array(file) else _lines(file)
        else:
            raise InputError(f"{path}: wanted one of {', '.join(KINDS)}, got {path.name!r}")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, csv.Error, pl.exceptions.PolarsError) as error:
        raise InputError(f"{path} can't be read as its name says: {error}; fetch the file again") from error
    except pl.exceptions.PanicException as error:  # of polars, for damaged content; no Exception
        raise InputError(f"{path} can't be read: its content is damaged; fetch the file again") from error


def _opened(path: Path) -> IO[bytes]:
    if path.name.lower().endswith(".gz"):
        return cast(IO[bytes], gzip.open(path, "rb"))
    return path.open("rb")


def _starts_an_array(file: IO[bytes]) -> bool:
    start = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
    file.seek(0)
    return start.startswith(b"[")


def _array(file: IO[bytes]) -> Iterator[tuple[int, dict[str, object] | ValueError]]:
    try:
        rows = json.loads(file.read().decode("utf-8-sig"))
    except (json.JSONDecodeError, RecursionError) as error:
        raise EOFError(f"not a JSON list: {error}") from error
    for number, row in enumerate(rows, 1):
        yield number, _an_object(row)


def _lines(file: IO[bytes]) -> Iterator[tuple[int, dict[str, object] | ValueError]]:
    for number, line in enumerate(file, 1):
        try:
            read = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            if read:
                yield number, _an_object(json.loads(read))
        except UnicodeDecodeError as error:
            yield number, ValueError(f"not UTF-8: {error.reason} at byte {error.start} of the line")
        except json.JSONDecodeError as error:
            yield number, ValueError(f"not JSON: {error.msg.removesuffix(' at')} at column {error.colno}")
        except RecursionError:
            yield number, ValueError("not JSON: nested too deeply")


def _an_object(value: object) -> dict[str, object] | ValueError:
    if isinstance(value, dict):
        return value
    return ValueError(f"wanted a JSON object, got {type(value).__name__}")


def _csv(path: Path) -> Iterator[tuple[int, dict[str, object] | ValueError]]:
    limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, row in enumerate(csv.DictReader(file, strict=True), 1):
                if None in row:
                    yield number, ValueError("it has more cells than the header has columns")
                else:
                    yield number, dict(row)
    finally:
        csv.field_size_limit(limit)
