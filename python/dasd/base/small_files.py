"""Small files, read whole with a bound; a pipe (waits for a writer) and a device (may never end) are refused."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

__all__ = ["SMALL", "read_json", "read_small", "regular"]

SMALL = 64 << 20
"""Bytes that a file of one record may have: manifests, configs, indexes, reports. The largest known have a quarter."""


def regular(path: Path) -> Path:
    """``path``, where it isn't a pipe, socket or device (links are followed). Raises OSError for one that is."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EINVAL, "it is a pipe, a socket or a device", str(path))
    return path


def read_small(path: Path, limit: int = SMALL) -> bytes:
    """Content of a file that is read whole. Raises OSError, also for one of more than ``limit`` bytes."""
    with regular(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        data = b"" if size > limit else file.read(limit + 1)
    if max(size, len(data)) > limit:
        what = f"it has {max(size, len(data))} bytes, and such a file at most {limit}"
        raise OSError(errno.EFBIG, what, str(path))
    return data


def read_json(path: Path) -> Any:
    """JSON of a small file in UTF-8. Raises OSError, ValueError for what is no JSON or nested too deeply."""
    try:
        return json.loads(read_small(path).decode("utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
