"""Directories in memory: a disk would make tests wait for each of their thousands of durable writes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SHARED = Path("/dev/shm")


def memory(room: int) -> Path | None:
    """Where files lie in memory, programs among them; None where ``room`` bytes are not free: containers often
    have less there."""
    if not os.access(_SHARED, os.W_OK) or os.statvfs(_SHARED).f_flag & os.ST_NOEXEC:
        return None
    return _SHARED if shutil.disk_usage(_SHARED).free >= room else None


@contextmanager
def in_memory() -> Iterator[Path]:
    """A new directory in memory, or on the disk where memory has no room. What a killed process wrote stays in both."""
    with tempfile.TemporaryDirectory(prefix="dasd-tests-", dir=memory(2**29)) as made:
        yield Path(made)
