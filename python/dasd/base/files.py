"""Files that appear whole or not at all: atomic durable writes, append-only lines, full disks."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import JsonValue

from dasd.base.checksums import checksum
from dasd.base.small_files import read_small
from dasd.errors import ComponentError, DasdError, DiskFullError, StoreError

MIN_FREE_BYTES = 64 * 2**20
"""Room that must be free before a run starts."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_FULL_WORDS = ("no space left on device", "disk quota exceeded", "(os error 28)", "(os error 122)")
_SUM = re.compile(rb',"sum":"([0-9a-f]{8})"}')
_LINES = 1 << 30
"""Bytes that a file of lines may have: one a step or an event."""
_NO_ROOM = 1 << 20
"""Free bytes below which a failed write is put down to a full disk."""


def human_bytes(count: int) -> str:
    """``count`` bytes in the largest unit that leaves at least one whole of it, e.g. ``"1.5 MiB"``."""
    size = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{count} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def free_bytes(directory: Path) -> int:
    """Bytes free to this user on the file system of ``directory`` (or of its nearest existing parent)."""
    place = directory.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def check_free(directory: Path, needed: int = MIN_FREE_BYTES) -> None:
    """Raise DiskFullError unless ``needed`` bytes are free where ``directory`` is or will be."""
    if free_bytes(directory) < needed:
        raise disk_full(directory, needed)


def disk_full(directory: Path, needed: int | None) -> DiskFullError:
    """The error for a full disk: where, how much is free, what was needed, and what to do."""
    try:
        free = human_bytes(free_bytes(directory))
    except OSError:
        free = "an unknown amount"
    wanted = f"{human_bytes(needed)} needed" if needed is not None else "more needed"
    error = DiskFullError(
        f"the disk is full: {free} free for {directory}, {wanted}. Make room and give the same command "
        "again: it continues where it stopped.",
        directory,
    )
    error.errno = errno.ENOSPC
    return error


@contextmanager
def watch_disk(directory: Path, needed: int | None = None) -> Iterator[None]:
    """Turn a full disk or quota met inside into DiskFullError about ``directory``."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL and not isinstance(error, DasdError):
            raise disk_full(directory, needed) from error
        raise


def means_full(error: BaseException, directory: Path) -> bool:
    """Whether ``error`` came of a full disk. Libraries hide it in text, or say nothing of use at all."""
    if isinstance(error, DasdError) and not isinstance(error, ComponentError):
        return False
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        if isinstance(link, OSError) and link.errno in _FULL:
            return True
        if any(words in str(link).lower() for words in _FULL_WORDS):
            return True
        link = link.__cause__ or link.__context__
    # torch's writers report a full disk as an unexpected file position.
    return isinstance(error, (OSError, RuntimeError)) and free_bytes(directory) < _NO_ROOM


def canonical_json(value: object) -> bytes:
    """One byte string for equal values: keys sorted, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sync(path: Path) -> None:
    """Make a file's content, or the renames and removals inside a directory, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` so that a kill leaves the old content or the new, nothing between.

    Raises DiskFullError if there is no room; the temporary file is then gone and ``path`` as before.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with watch_disk(path.parent, len(data)):
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync(path.parent)


def line_of(record: bytes) -> bytes:
    """A JSON object that is not empty as a line of an append-only file: with a checksum of itself as its last key."""
    return record[:-1] + f',"sum":"{checksum(record, 4)}"}}\n'.encode()


def append_line(path: Path, record: bytes, *, durable: bool) -> None:
    """Append a JSON object as one line. ``durable``: it is on the disk when this returns, else in the kernel's hands.

    A write that fails half-way is cut off again, so that the next line doesn't run into it.
    """
    line = line_of(record)
    with watch_disk(path.parent, len(line)), path.open("ab", buffering=0) as file:
        before = file.seek(0, os.SEEK_END)
        try:
            if file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if durable:
                os.fsync(file.fileno())
        except BaseException:
            with suppress(OSError):
                file.truncate(before)
            raise
    if durable and before == 0:
        sync(path.parent)


def read_lines(path: Path) -> list[JsonValue]:
    """The JSON values of an append-only file; a torn last line is left out, no file is no lines.

    Raises StoreError naming file and line for a line before the last that is not JSON, or whose checksum is not
    its own; lines of an older dasd have none.
    """
    return _parse_lines(path)[0]


def mend_lines(path: Path) -> list[JsonValue]:
    """As ``read_lines``, and cut a torn last line off the file. For the one writer only."""
    values, length = _parse_lines(path)
    if path.exists() and path.stat().st_size != length:
        os.truncate(path, length)
    return values


def _parse_lines(path: Path) -> tuple[list[JsonValue], int]:
    """Values of the whole lines, and the length in bytes of the file up to the last of them."""
    values: list[JsonValue] = []
    length = 0
    try:
        data = read_small(path, _LINES) if path.exists() else b""
    except OSError as error:
        raise StoreError(f"{path} can't be read: {error.strerror}; restore it from a copy", path) from error
    lines = data.split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):
        try:
            values.append(json.loads(_without_sum(line)))
        except (ValueError, RecursionError) as error:
            if number == len(lines) - 1 and not lines[-1]:
                break  # the last line: torn by a power cut that kept its length
            raise StoreError(
                f"{path}, line {number}: wanted one JSON object as it was written, got {line[:80]!r}. The file was "
                "altered or torn in the middle; restore it from a copy, or remove the directory that it lies in to "
                "have that part of the run done again.",
                path,
            ) from error
        length += len(line) + 1
    return values, length


def _without_sum(line: bytes) -> bytes:
    found = _SUM.fullmatch(line[-len(b',"sum":"01234567"}') :])
    if found is None:
        return line
    record = line[: -len(found[0])] + b"}"
    if checksum(record, 4).encode() != found[1]:
        raise ValueError("its checksum is that of another line")
    return record


def plain_json(value: object, what: str) -> JsonValue:
    """``value`` as JSON; floats that are not finite become null. Raises StoreError naming ``what``."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if value - value == 0 else None
    if isinstance(value, Mapping):
        return {str(key): plain_json(item, f"{what}.{key}") for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [plain_json(item, f"{what}[{index}]") for index, item in enumerate(value)]
    raise StoreError(f"{what}: wanted a JSON value, got {type(value).__name__}; convert it first")


def remove_tree(path: Path) -> None:
    """Remove a file or a directory with all in it; nothing there is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
