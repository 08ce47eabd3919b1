"""A user whom file permissions hold, also where the tests are run by root."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NOBODY = 65534


@contextmanager
def unprivileged() -> Iterator[None]:
    """In the block this process is nobody's, if it is root's: only what all may read and write can be."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def open_to_all() -> Iterator[Path]:
    """A directory that all may look into; pytest's own are for the user alone."""
    with tempfile.TemporaryDirectory(prefix="dasd-tests-") as made:
        place = Path(made)
        place.chmod(0o755)
        yield place
