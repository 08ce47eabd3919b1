"""blake2b, the one hash of everything that is identified by its content: rows, files, models, settings."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

from dasd.base.small_files import regular

__all__ = ["checksum", "feed_file", "file_checksum", "hasher"]

_CHUNK = 1 << 20


def hasher(size: int = 16) -> blake2b:
    """A hash to ``update`` piece by piece; its ``hexdigest`` has two digits for each of ``size`` bytes."""
    return blake2b(digest_size=size)


def checksum(data: bytes, size: int = 16) -> str:
    """Hash of ``data`` in hexadecimal, ``size`` bytes long."""
    return blake2b(data, digest_size=size).hexdigest()


def file_checksum(path: Path, size: int = 16) -> str:
    """Hash of a file's content, the same as ``checksum`` of it. Raises OSError."""
    found = hasher(size)
    feed_file(found, path)
    return found.hexdigest()


def feed_file(into: blake2b, path: Path) -> None:
    """Update ``into`` with a file's content, a piece at a time. Raises OSError."""
    with regular(path).open("rb") as file:
        while piece := file.read(_CHUNK):
            into.update(piece)
