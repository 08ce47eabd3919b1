"""Hosts of an executor on which the processes of a training run together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

__all__ = ["Hosts", "HostsWanted", "Launched"]


@dataclass(frozen=True, slots=True)
class HostsWanted:
    """What a training asks of an executor."""

    count: int
    """Hosts, each another machine."""
    processes: int | None
    """Processes on each; None: one a GPU of its own, on the CPU one."""
    device: str
    """``cpu``, ``cuda``, or ``auto``: the GPUs, where there are any."""
    shared: Sequence[Path]
    """Files, by absolute paths, that every host must see as they are here: of a file system that all share."""


class Launched(Protocol):
    """A process that was started on a host."""

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs. Raises BackendError where its host is lost."""
        ...


class Hosts(Protocol):
    """Hosts that are held for one training until they are closed."""

    @property
    def device(self) -> str:
        """``cuda`` where each process has a GPU of its own, else ``cpu``."""
        ...

    @property
    def addresses(self) -> Sequence[str]:
        """Of each host, by which the others reach it."""
        ...

    @property
    def processes(self) -> Sequence[int]:
        """How many are to be started on each host."""
        ...

    def free_port(self) -> int:
        """A port of the first host that nobody listens on."""
        ...

    def start(
        self, host: int, arguments: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> Launched:
        """Start the host's own Python with these arguments; ``environment`` is added to the host's.

        What it prints goes to ``log``. Its standard input ends when this process or the host's part of the executor
        dies, however it does.
        """
        ...

    def close(self) -> None:
        """End the processes and what they started, and give the hosts back."""
        ...
