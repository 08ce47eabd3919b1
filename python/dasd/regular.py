"""Files that may be read to their end: a pipe waits for a writer, and a device may never end."""

from __future__ import annotations

import errno
from pathlib import Path

__all__ = ["regular"]


def regular(path: Path) -> Path:
    """``path``, where it isn't a pipe, socket or device (links are followed). Raises OSError for one that is."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EINVAL, "it is a pipe, a socket or a device", str(path))
    return path
