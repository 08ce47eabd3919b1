"""Processes below one, as /proc shows them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["files_in_tmp", "usage"]

_PAGE = os.sysconf("SC_PAGE_SIZE")
_PROC = Path("/proc")


def usage(pid: int) -> tuple[int, int]:
    """Number of processes from ``pid`` down, itself counted, and their resident memory in bytes together.

    Pages that processes share count for each of them, but what they took over unchanged from files doesn't.
    """
    count = resident = 0
    for process in _below(pid):
        with suppress(OSError, ValueError):  # it has ended meanwhile
            _, total, shared = map(int, (process / "statm").read_text().split()[:3])
            count += 1
            # File-backed and shared pages are the interpreter's own, mapped by all; a tmpfs has its own limit.
            resident += (total - shared) * _PAGE
    return count, resident


def files_in_tmp(pid: int) -> int:
    """Number of files, directories and links in the tmpfs that is ``/tmp`` of the processes from ``pid`` down.

    Extended attributes count too, by their size. Processes that see this process's own ``/tmp`` don't count.
    """
    own = Path("/tmp").stat().st_dev  # noqa: S108 - only looked at
    most = 0
    for process in _below(pid):
        with suppress(OSError):  # it has ended meanwhile
            tmp = process / "root" / "tmp"
            if tmp.stat().st_dev != own:
                state = os.statvfs(tmp)
                most = max(most, state.f_files - state.f_ffree)
    return most


def _below(pid: int) -> Iterator[Path]:
    """The directories in /proc of ``pid`` and of all processes below it."""
    waiting = [pid]
    while waiting:
        process = _PROC / str(waiting.pop())
        yield process
        with suppress(OSError, ValueError):  # it has ended meanwhile
            for task in (process / "task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
