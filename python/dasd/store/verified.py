"""Which files of a stage were held against their checksums, and how they looked then, so that a start hashes few."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from dasd.base.checksums import file_checksum
from dasd.base.files import append_line, line_of, mend_lines, read_lines, write_whole
from dasd.errors import StoreError
from dasd.store.manifest import Record

__all__ = ["StoredFile", "Verified", "look"]

NOTES = "verified.jsonl"
SETTLED_SECONDS = 2.0
"""A file is noted once its time of change is so long past: a later change can't have the same time any more, whatever
the file system counts in."""
_AHEAD = 64
"""Files that are handed to the threads before the first of them is told of."""
_THREADS = 16


class StoredFile(NamedTuple):
    """A file as it was written."""

    path: Path
    name: str
    """In the notes: the path below the stage or, of an artifact, below the run directory."""
    bytes: int
    checksum: str


class _Note(NamedTuple):
    checksum: str
    bytes: int
    mtime_ns: int
    inode: int


class _Line(Record):
    file: str
    checksum: str
    bytes: int
    mtime_ns: int
    inode: int


class Verified:
    """The notes of one stage, in its directory. What can't be read as a whole is as if it weren't there."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / NOTES
        self._notes: dict[str, _Note] = {}
        self._waiting: list[tuple[str, _Note]] = []
        self._mended = False
        self._torn = False
        self._gone = False
        try:
            for line in map(_Line.model_validate, read_lines(self._path)):
                self._notes[line.file] = _Note(line.checksum, line.bytes, line.mtime_ns, line.inode)
        except (StoreError, ValueError):
            self._torn = True
            self._notes.clear()

    def holds(self, file: StoredFile, found: os.stat_result) -> bool:
        """Whether the file looks as it did when its checksum was held against its content."""
        return self._notes.get(file.name) == _note(file.checksum, found)

    def saw(self, name: str, checksum: str, found: os.stat_result) -> None:
        """A file had this checksum when it looked so."""
        note = _note(checksum, found)
        if self._notes.get(name) != note:
            self._notes[name] = note
            self._waiting.append((name, note))

    def forget(self, names: Iterable[str]) -> None:
        """Files that are gone: a stage of many units would keep a note of each for as long as the process lives."""
        for name in names:
            self._gone = self._notes.pop(name, None) is not None or self._gone

    def save(self) -> None:
        """Write what was seen and has settled. For the run's one writer. Raises DiskFullError."""
        settled = time.time_ns() - int(SETTLED_SECONDS * 1e9)
        if self._gone:
            self._waiting = [(name, note) for name, note in self._waiting if self._notes.get(name) == note]
            lines = [_line(*each) for each in self._notes.items() if each[1].mtime_ns <= settled]
            write_whole(self._path, b"".join(map(line_of, lines)))
            self._gone, self._torn, self._mended = False, False, True
            self._waiting = [(name, note) for name, note in self._waiting if note.mtime_ns > settled]
            return
        young = [(name, note) for name, note in self._waiting if note.mtime_ns > settled]
        if len(young) < len(self._waiting) and not self._mended:
            self._mend()
        for name, note in self._waiting:
            if note.mtime_ns <= settled:
                append_line(self._path, _line(name, note), durable=False)
        self._waiting = young

    def _mend(self) -> None:
        if self._torn:
            self._path.unlink(missing_ok=True)
        else:
            mend_lines(self._path)
        self._mended = True


def _line(name: str, note: _Note) -> bytes:
    return _Line(file=name, **note._asdict()).model_dump_json().encode()


def _note(checksum: str, found: os.stat_result) -> _Note:
    return _Note(checksum, found.st_size, found.st_mtime_ns, found.st_ino)


def look(files: Iterable[StoredFile], notes: Verified | None) -> Iterator[tuple[StoredFile, str | None]]:
    """What is wrong with each file, in order; None of one that is what was written.

    ``notes``: files that these hold for are not read, and what is read is noted there; None: all are read. Several
    files are hashed at a time.
    """
    waiting: deque[tuple[StoredFile, _Looked | Future[_Looked]]] = deque()
    pool = ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1))
    try:
        for file in files:
            known = notes is not None and _as_noted(notes, file)
            waiting.append((file, _Looked(None, None) if known else pool.submit(_hashed, file)))
            while waiting and (len(waiting) > _AHEAD or not isinstance(waiting[0][1], Future)):
                yield _told(*waiting.popleft(), notes)
        while waiting:
            yield _told(*waiting.popleft(), notes)
    finally:
        pool.shutdown(cancel_futures=True)


class _Looked(NamedTuple):
    problem: str | None
    found: os.stat_result | None
    """How a file that was read looked before and after."""


def _as_noted(notes: Verified, file: StoredFile) -> bool:
    try:
        found = file.path.stat()
    except OSError:
        return False
    return found.st_size == file.bytes and notes.holds(file, found)


def _hashed(file: StoredFile) -> _Looked:
    if not file.path.is_file():
        return _Looked("is missing", None)
    before = file.path.stat()
    if before.st_size != file.bytes:
        words = f"is torn or was altered: it has {before.st_size} bytes, {file.bytes} were written"
        return _Looked(words, None)
    if file_checksum(file.path) != file.checksum:
        return _Looked("was altered: its checksum is not that of what was written", None)
    same = _note(file.checksum, file.path.stat()) == _note(file.checksum, before)
    return _Looked(None, before if same else None)


def _told(
    file: StoredFile, looked: _Looked | Future[_Looked], notes: Verified | None
) -> tuple[StoredFile, str | None]:
    result = looked.result() if isinstance(looked, Future) else looked
    if notes is not None and result.found is not None:
        notes.saw(file.name, file.checksum, result.found)
    return file, result.problem
