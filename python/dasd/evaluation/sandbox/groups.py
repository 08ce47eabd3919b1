"""A control group for each program: the kernel counts its own memory, which no process holds, and bounds all of it."""

from __future__ import annotations

import itertools
import os
from contextlib import suppress
from pathlib import Path

from dasd.evaluation.sandbox.bubblewrap import SandboxError
from dasd.evaluation.sandbox.limits import Limits

__all__ = ["PARENT", "Group", "new_group"]

PARENT = "DASD_CONTROL_GROUP"
"""Environment variable: the control group that dasd may make groups in. Never guessed: groups belong to their maker."""
_KERNEL_BYTES = 64 << 20  # 20,000 files with long names take 30 MB; the rest is for processes
_numbers = itertools.count()
_swept: set[Path] = set()


class Group:
    """A group for one program, of either version of control groups."""

    def __init__(self, path: Path, limits: Limits) -> None:
        """Make it. OSError where that can't be done."""
        self._path = path
        path.mkdir()
        try:
            self._limit(limits, limits.memory_bytes + limits.disk_bytes + _KERNEL_BYTES)
            self.exceeded()  # a kernel that doesn't tell is refused here, not amid a program
        except OSError:
            path.rmdir()
            raise

    def _limit(self, limits: Limits, most: int) -> None:
        self._second = (self._path / "cgroup.controllers").exists()
        if self._second:
            self._write("memory.max", most)
            self._write("memory.oom.group", 1)
            optional = {"memory.swap.max": 0, "pids.max": limits.processes + 8}  # and bubblewrap's own
        else:
            self._write("memory.limit_in_bytes", most)
            optional = {"memory.memsw.limit_in_bytes": most}
        for name, value in optional.items():
            if (self._path / name).exists():
                self._write(name, value)

    def _write(self, name: str, value: int) -> None:
        # Not created if it is missing: in a directory that is no group, that would look as if it held.
        descriptor = os.open(self._path / name, os.O_WRONLY)
        try:
            os.write(descriptor, str(value).encode())
        finally:
            os.close(descriptor)

    def command(self) -> list[str]:
        """What to put before a command so that it runs in the group, from its first instruction on."""
        return ["/bin/sh", "-c", 'echo 0 > "$0" && exec "$@"', str(self._path / "cgroup.procs")]

    def exceeded(self) -> bool:
        """Whether the kernel ended a process for memory, or more of its own is held than any honest process needs."""
        if self._second:
            killed, kernel = self._field("memory.events", "oom_kill"), self._field("memory.stat", "kernel")
        else:
            killed = self._field("memory.oom_control", "oom_kill")
            kernel = int((self._path / "memory.kmem.usage_in_bytes").read_text())
        return killed > 0 or kernel > _KERNEL_BYTES

    def _field(self, name: str, key: str) -> int:
        fields = dict(line.split() for line in (self._path / name).read_text().splitlines())
        return int(fields.get(key, 0))

    def remove(self) -> None:
        """Remove it, once every process in it has ended; one that can't go yet is swept by a later command."""
        with suppress(OSError):
            self._path.rmdir()


def new_group(limits: Limits) -> Group | None:
    """A group for a program; None unless DASD_CONTROL_GROUP names where. SandboxError where none can be made there."""
    named = os.environ.get(PARENT)
    if not named:
        return None
    parent = Path(named).resolve()
    try:
        if parent not in _swept:
            _sweep(parent)
            _swept.add(parent)
        return Group(parent / f"dasd-{os.getpid()}-{next(_numbers)}", limits)
    except OSError as error:
        raise SandboxError(
            f"{PARENT} is {named}, and no memory control group can be made in it ({error}): "
            "name a directory of your own below /sys/fs/cgroup (docs/sandbox.md), or unset it"
        ) from error


def _sweep(parent: Path) -> None:
    """Remove what killed commands left; a group with a process in it stays."""
    for path in parent.glob("dasd-*-*"):
        pid = path.name.split("-")[1]
        if pid.isdigit() and not Path("/proc", pid).exists():
            with suppress(OSError):
                path.rmdir()
