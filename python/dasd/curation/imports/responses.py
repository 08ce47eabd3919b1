"""``import_responses``: texts, joined with their log-probabilities by uuid, as one file of responses."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from dasd.base.files import disk_full, means_full, write_whole
from dasd.base.progress import Console
from dasd.base.records import BadRow
from dasd.base.rows_file import RowsFile
from dasd.curation.imports.logprobs import LogprobFiles
from dasd.curation.imports.rows import RESPONSES, identifier_of, logprobs_mode, response_row, tokens_of
from dasd.curation.sources.values import ValueFile
from dasd.errors import InputError

__all__ = ["SUFFIXES", "Imported", "import_responses"]

SUFFIXES = (".jsonl", ".parquet")
_ROWS_AT_ONCE = 256
_Bad = list[tuple[Path, BadRow]]


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of an import."""

    path: Path
    rows: int
    with_logprobs: int
    set_aside: int
    """Rows of either kind that are in none of the responses."""
    set_aside_path: Path | None
    """A JSON object for each: file, row, reason; None if there are none."""


def import_responses(
    sources: Sequence[Path | str], output: Path | str, console: Console | None = None
) -> Imported:
    """Write the responses in ``sources`` to ``output``, whole or not at all.

    ``sources``: .jsonl or .parquet files, or directories of them (as `dasd export` leaves). A file with columns
    ``token_ids`` and ``logprobs`` and no text is one of log-probabilities; every other one is of texts, in the order
    given. ``output``: a .parquet or .jsonl file, replaced if it is there. Where there are files of
    log-probabilities, a text without a row there is set aside, as is a row there without a text. Raises InputError
    for files that are missing, torn or of neither kind, and where more than half of the texts can't be used.
    """
    console = console or Console(quiet=True)
    target = Path(output)
    if target.suffix not in SUFFIXES:
        raise InputError(f"{target}: wanted a file that ends in {' or '.join(SUFFIXES)}")
    texts, others = _sorted(_files(sources))
    if target.exists() and any(target.samefile(file.path) for file in [*texts, *others]):
        raise InputError(f"{target} is one of the files to import; wanted another name")
    logprobs = LogprobFiles(others) if others else None
    bad: _Bad = list(logprobs.bad) if logprobs else []
    join = _Join(texts, logprobs, bad)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.stem}-") as scratch:
        staged = Path(scratch) / target.stem
        try:
            with (
                console.task("import", None, "responses") as task,
                RowsFile(staged, "parquet" if target.suffix == ".parquet" else "jsonl") as file,
            ):
                for frame in join.frames():
                    file.write(frame)
                    task.advance(frame.height)
        except Exception as error:
            if means_full(error, target.parent):
                raise disk_full(target.parent, None) from error
            raise
        join.refuse_wrong_files()
        if logprobs is not None:
            bad += logprobs.rest(join.seen)
        listed = _list(target, bad)
        os.replace(file.path, target)  # noqa: PTH105 (Path.replace would do the same)
    if listed is not None:
        path, first = bad[0]
        console.warn(
            f"{len(bad)} rows set aside, the first is row {first.row} of {path} ({first.reason}); all of them: {listed}"
        )
    return Imported(target, file.rows, join.with_logprobs, len(bad), listed)


class _Join:
    """Texts with their log-probabilities, batch by batch."""

    def __init__(self, texts: Sequence[ValueFile], logprobs: LogprobFiles | None, bad: _Bad) -> None:
        self.seen: set[str] = set()
        self.with_logprobs = 0
        self._texts = texts
        self._logprobs = logprobs
        self._bad = bad
        self._total = 0
        self._lost = 0
        self._first = ""

    def frames(self) -> Iterator[pl.DataFrame]:
        """Frames with the columns of RESPONSES."""
        held: list[tuple[ValueFile, int, dict[str, object], str | None]] = []
        for file in self._texts:
            for number, value in file:
                self._total += 1
                try:
                    held.append((file, number, *self._row(value)))
                except ValueError as error:
                    self._set_aside(file, number, str(error))
                if len(held) == _ROWS_AT_ONCE:
                    yield from self._joined(held)
                    held = []
        yield from self._joined(held)

    def refuse_wrong_files(self) -> None:
        """InputError where more than half of the texts can't be used: they aren't what they are taken for."""
        if not self._total:
            raise InputError(f"{self._texts[0].path}: the files hold no response; wanted at least one row")
        if self._lost * 2 > self._total:
            raise InputError(f"{self._lost} of {self._total} texts can't be used, the first is {self._first}")

    def _row(self, value: dict[str, object] | ValueError) -> tuple[dict[str, object], str | None]:
        if isinstance(value, ValueError):
            raise value
        uuid = identifier_of(value)
        if uuid in self.seen:
            raise ValueError(f"uuid {uuid} is taken by an earlier row")
        row = response_row(value)
        if self._logprobs is not None and uuid not in self._logprobs:
            raise ValueError(f"no log-probabilities have uuid {uuid}")
        self.seen.add(uuid)
        return row, logprobs_mode(value)

    def _joined(
        self, held: Sequence[tuple[ValueFile, int, dict[str, object], str | None]]
    ) -> Iterator[pl.DataFrame]:
        if self._logprobs is not None:
            found = self._logprobs.take([str(row["sample_id"]) for _, _, row, _ in held])
            rows = []
            for file, number, row, mode in held:
                try:
                    tokens = found[str(row["sample_id"])]
                    assert isinstance(tokens, dict)
                    row["token_ids"], row["logprobs"] = tokens_of(tokens)
                    row["logprobs_mode"] = mode
                    rows.append(row)
                except ValueError as error:
                    self._set_aside(file, number, str(error))
            self.with_logprobs += len(rows)
        else:
            rows = [row for _, _, row, _ in held]
        if rows:
            yield pl.DataFrame(rows, schema=RESPONSES)

    def _set_aside(self, file: ValueFile, number: int, reason: str) -> None:
        self._bad.append((file.path, BadRow(number, reason)))
        self._lost += 1
        self._first = self._first or f"row {number} of {file.path}: {reason}"


def _files(sources: Sequence[Path | str]) -> list[ValueFile]:
    found = []
    for source in map(Path, sources):
        if source.is_dir():
            inside = sorted(path for path in source.iterdir() if path.suffix in SUFFIXES)
            if not inside:
                raise InputError(f"{source} holds no {' or '.join(SUFFIXES)} file")
            found += inside
        elif source.suffix in SUFFIXES:
            found.append(source)
        else:
            raise InputError(f"{source}: wanted a {' or '.join(SUFFIXES)} file, or a directory of them")
    return [ValueFile(path, "response") for path in found]


def _sorted(files: Sequence[ValueFile]) -> tuple[list[ValueFile], list[ValueFile]]:
    """Files of texts and files of log-probabilities, by the columns of the first row that can be read."""
    texts, logprobs = [], []
    for file in files:
        columns = _columns(file)
        if {"token_ids", "logprobs"} <= columns and not columns & {"output", "response", "text"}:
            logprobs.append(file)
        else:
            texts.append(file)
    if not texts:
        raise InputError(
            f"{files[0].path if files else 'nothing'} has no texts: wanted a file with uuid, input and output beside "
            "the log-probabilities"
        )
    return texts, logprobs


def _columns(file: ValueFile) -> set[str]:
    for _, value in file:
        if isinstance(value, dict):
            return set(value)
    return set()


def _list(target: Path, bad: _Bad) -> Path | None:
    """Write the rows that were set aside beside ``target``; none: no file, not even an earlier one."""
    path = target.with_name(f"{target.stem}.set-aside.jsonl")
    if not bad:
        path.unlink(missing_ok=True)
        return None
    lines = [
        json.dumps({"file": str(file), "row": row.row, "reason": row.reason}, ensure_ascii=False)
        for file, row in bad
    ]
    write_whole(path, ("\n".join(lines) + "\n").encode())
    return path
