"""What a measurement was taken on, and how much memory it took."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import os
import platform
from pathlib import Path

# Everything whose version can change a figure.
PACKAGES = (
    "dasd",
    "numpy",
    "polars",
    "pyarrow",
    "numba",
    "rensa",
    "datasketch",
    "fastsketchlsh",
    "trl",
    "blingfire",
    "nltk",
    "pysbd",
)


def describe() -> dict[str, object]:
    """Processor, cores, memory (bytes), system, and the versions of what takes part (null: not installed)."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory": _memory(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "threads": {
            name: os.environ.get(name)
            for name in ("RAYON_NUM_THREADS", "POLARS_MAX_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS")
        },
        "versions": {package: version(package) for package in PACKAGES},
    }


def version(package: str) -> str | None:
    """The installed version, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    """Model and family: virtual machines often give a model name that says little."""
    with contextlib.suppress(OSError):
        fields: dict[str, str] = {}
        for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines():
            key, _, value = line.partition(":")
            fields[key.strip()] = value.strip()
        if "model name" in fields:
            wide = [
                name for name in ("avx2", "avx512f", "avx512_bf16") if name in fields.get("flags", "").split()
            ]
            family = f"family {fields.get('cpu family')}, model {fields.get('model')}"
            return f"{fields['model name']} ({family}; {', '.join(wide)})"
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


class PeakMemory:
    """How far a block of code raises this process's resident memory above its start.

    Memory that an allocator kept from earlier work and hands out again is not seen; what the C library keeps
    is given back first. Linux alone can tell; elsewhere ``bytes`` stays None.

    Example:
        with PeakMemory() as peak:
            work()
        print(peak.bytes)
    """

    bytes: int | None = None

    def __enter__(self) -> PeakMemory:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        self._start = None
        with contextlib.suppress(OSError):
            self._start = restart_peak()
        return self

    def __exit__(self, *_: object) -> None:
        if self._start is not None:
            self.bytes = max(0, peak_bytes() - self._start)


def restart_peak() -> int:
    """Let the peak of resident memory start again from what is held now; how much that is, in bytes.

    Not getrusage's ru_maxrss, here as in ``peak_bytes``: a process inherits that from the one that started it.
    Linux only; raises OSError elsewhere.
    """
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak_bytes() -> int:
    """The most resident memory since the last ``restart_peak``. Linux only; raises OSError elsewhere."""
    return _status("VmHWM")


def _status(field: str) -> int:
    """A field of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")
