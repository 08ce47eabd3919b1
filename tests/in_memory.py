"""A directory in memory, for tests that kill: a disk would make each of their thousands of durable writes wait for it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SHARED = Path("/dev/shm")
_ROOM = 2**29
"""Free bytes; containers often have less there."""


@contextmanager
def in_memory() -> Iterator[Path]:
    """A new directory in memory, or on the disk where memory has no room. What a killed process wrote stays in both."""
    roomy = os.access(_SHARED, os.W_OK) and shutil.disk_usage(_SHARED).free >= _ROOM
    with tempfile.TemporaryDirectory(prefix="dasd-tests-", dir=_SHARED if roomy else None) as made:
        yield Path(made)
