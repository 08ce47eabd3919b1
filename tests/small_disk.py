"""A file system that fills up, for tests of what a full disk does."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def small_disk(place: Path, mebibytes: int) -> Iterator[Path]:
    """``place``, a new directory, with a file system of that size on it; skips without the right to mount."""
    place.mkdir()
    size = f"size={mebibytes}m"
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", str(place)], capture_output=True)
    if made.returncode != 0:
        pytest.skip("no right to mount a small file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def fill(file: Path, leave: int = 0) -> None:
    """Write ``file`` until the disk is full but for ``leave`` bytes."""
    with file.open("wb", buffering=0) as stream:
        with suppress(OSError):
            while stream.write(bytes(2**16)) == 2**16:
                pass
        stream.truncate(stream.tell() - leave)
