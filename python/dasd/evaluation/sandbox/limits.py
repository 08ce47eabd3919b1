"""What a program may use, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Limits", "Outcome", "Result"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program may use; docs/sandbox.md tells what enforces each."""

    cpu_seconds: int = 10
    """Processor time of each process."""
    wall_seconds: float = 30.0
    """Time from the start of the program to its end, all cases of a function test together."""
    memory_bytes: int = 1 << 30
    """Address space of each process, and resident memory of all of them together."""
    processes: int = 32
    """Processes and threads at one time."""
    file_bytes: int = 16 << 20
    """Size of one file."""
    disk_bytes: int = 64 << 20
    """Size of the working directory, which is memory."""
    files: int = 20_000
    """Files, directories, links and sockets in the working directory: each takes about 1 KiB of the kernel's memory."""
    open_files: int = 64
    output_bytes: int = 1 << 20
    """Standard output and error together."""


class Outcome(StrEnum):
    """What became of a program."""

    PASSED = "passed"
    """It ended with exit code 0; of a check: every test passed."""
    FAILED = "failed"
    """It raised an exception or ended with another exit code; of a check: a test didn't pass."""
    TIMEOUT = "timeout"
    """It took more processor or wall time than it may."""
    MEMORY = "memory"
    """It wanted more memory than it may have."""
    OUTPUT = "output"
    """It printed more than it may."""
    PROCESSES = "processes"
    """It started more processes than it may and was ended for it."""
    CRASH = "crash"
    """A signal ended it."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a program, and what it printed."""

    outcome: Outcome
    exit_code: int | None
    """None if a signal ended it, or dasd did."""
    signal: int | None
    """Number of the signal that ended it, else None."""
    seconds: float
    """From the start of the program to the end of all its processes."""
    stdout: str
    """What it printed, up to the limit; what isn't UTF-8 replaced."""
    stderr: str
    detail: str = ""
    """Of a check: the first test that didn't pass."""

    @property
    def passed(self) -> bool:
        """Whether the outcome is ``passed``."""
        return self.outcome is Outcome.PASSED
