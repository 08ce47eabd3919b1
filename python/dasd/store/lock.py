"""One writer a run directory. Readers need no lock."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from dasd.base.files import watch_disk, write_whole
from dasd.base.small_files import read_json
from dasd.errors import LockError
from dasd.store.manifest import now

LOCK = ".lock"
HOLDER = ".lock.json"


@contextmanager
def only_writer(directory: Path) -> Iterator[None]:
    """Hold the run directory's lock. The kernel releases it if this process dies.

    Raises LockError naming process and host of the holder, at once.
    """
    lock = FileLock(directory / LOCK)
    try:
        with watch_disk(directory):
            lock.acquire(timeout=0)
    except Timeout:
        raise LockError(
            f"{directory} is being written by {_holder(directory)}. Wait until it ends or stop it, or give "
            "another run directory.",
            directory,
        ) from None
    try:
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": now()}
        write_whole(directory / HOLDER, json.dumps(holder).encode() + b"\n")
        yield
    finally:
        with suppress(OSError):
            (directory / HOLDER).unlink()
        lock.release()


def _holder(directory: Path) -> str:
    """Who holds the lock, in words."""
    try:
        holder = read_json(directory / HOLDER)
        return f"process {holder['pid']} on host {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
