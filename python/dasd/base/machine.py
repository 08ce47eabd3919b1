"""Processors, memory and GPUs of this machine, read without importing torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

__all__ = ["Gpu", "cores", "memory_available_bytes", "memory_bytes", "nvidia_gpus"]

_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU. ``source``: who says so, ``nvidia-smi`` or ``torch``."""

    name: str
    memory_bytes: int
    driver: str
    source: str


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    """Memory that this process may use: the machine's, or its control group's limit. 0: unknown."""
    try:
        found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        found = 0
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(limit).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit() and (not found or int(text) < found):
            found = int(text)
    return found


def memory_available_bytes() -> int | None:
    """Memory that is free now, caches that can be dropped counted as free; None where it isn't told."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None


@lru_cache(maxsize=1)
def nvidia_gpus() -> tuple[Gpu, ...]:
    """GPUs by ``nvidia-smi``; none where it isn't there or doesn't answer."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return ()
    query = [command, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    found = []
    for line in done.stdout.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 3 and parts[1].isdigit():
            found.append(Gpu(parts[0], int(parts[1]) * 2**20, parts[2], "nvidia-smi"))
    return tuple(found)
