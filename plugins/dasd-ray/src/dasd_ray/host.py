"""The actor that stands for a host of a training: it starts the training's processes there and ends them."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import ray

__all__ = ["Host", "identity"]

HASHED = 2**16
"""Bytes of a file's beginning that tell it from another of the same name and size."""


def identity(path: Path) -> str | None:
    """What tells a file from another one of its name; None where there is none."""
    try:
        with path.open("rb") as file:
            return f"{os.fstat(file.fileno()).st_size} {hashlib.sha256(file.read(HASHED)).hexdigest()}"
    except OSError:
        return None


class Host:
    """Starts processes, waits for them in a thread each, and is their parent: when it dies their stdin ends."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[bytes]] = []

    def address(self) -> str:
        """The node's."""
        return str(ray.util.get_node_ip_address())

    def unseen(self, files: Mapping[Path, str | None]) -> Path | None:
        """The first of the files that isn't there, or is another one than the driver's."""
        return next((path for path, known in files.items() if known is None or identity(path) != known), None)

    def free_port(self) -> int:
        """A port that nobody listens on."""
        with socket.socket() as probe:
            probe.bind(("", 0))
            return int(probe.getsockname()[1])

    def run(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> int:
        """Start this node's Python and wait for its exit code."""
        with log.open("wb") as file:
            # A session of its own makes a group that can be killed with all that it has started.
            process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=os.environ | environment,
                start_new_session=True,
            )
        self._started.append(process)
        return process.wait()

    def end(self) -> None:
        """Kill all that was started."""
        for process in self._started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
