"""Starting the processes of a training, on this host or others, and leaving none behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from dasd.api import Hosts, Launched
from dasd_deepspeed.job import Files
from dasd_deepspeed.options import DeepSpeedOptions

_WORKER = "dasd_deepspeed.worker"
_LAUNCHER_PORT = 29500


@dataclass(frozen=True, slots=True)
class Started:
    """A process that was started: one of the training's, or DeepSpeed's launcher of all."""

    rank: int | str
    process: Launched
    host: str = ""
    """Address of another host."""

    def __str__(self) -> str:
        return f"process {self.rank}" + (f" on {self.host}" if self.host else "")


@contextmanager
def processes(
    options: DeepSpeedOptions, files: Files, count: int, device: str
) -> Iterator[tuple[list[Started], IO[bytes]]]:
    """Start the training's processes here, or the launcher that does so elsewhere, and rank 0's standard input.

    When the block ends, however it does, they and their children are gone.
    """
    started: list[subprocess.Popen[bytes]] = []
    ranks: list[int | str] = ["launcher"] if options.hostfile is not None else list(range(count))
    try:
        if options.hostfile is not None:
            started.append(_start(_launcher(options, options.hostfile, files), files, "launcher", {}))
        else:
            port = options.master_port or _free_port()
            for rank in range(count):
                command = [sys.executable, "-m", _WORKER, str(files.directory)]
                environment = _rank_environment(rank, rank, count, count, "127.0.0.1", port, device)
                started.append(_start(command, files, rank, environment | _threads(count, device)))
        assert started[0].stdin is not None
        yield (
            [Started(rank, process) for rank, process in zip(ranks, started, strict=True)],
            started[0].stdin,
        )
    finally:
        for process in started:
            _kill_group(process)


def start_on(hosts: Hosts, options: DeepSpeedOptions, files: Files) -> list[Started]:
    """Start the training's processes on the executor's hosts, with whose closing they end."""
    port = options.master_port or hosts.free_port()
    world = sum(hosts.processes)
    started: list[Started] = []
    for host, count in enumerate(hosts.processes):
        for local in range(count):
            rank = len(started)
            process = hosts.start(
                host,
                ["-m", _WORKER, str(files.directory)],
                _rank_environment(rank, local, world, count, hosts.addresses[0], port, hosts.device),
                files.log(rank),
            )
            started.append(Started(rank, process, hosts.addresses[host]))
    return started


def _start(
    command: list[str], files: Files, rank: int | str, environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    with files.log(rank).open("wb") as log:
        # The end of stdin tells the process that this one is gone. A session of its own makes
        # a group that can be killed with all that it has started.
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
            start_new_session=True,
        )


def _rank_environment(
    rank: int, local: int, world: int, here: int, address: str, port: int, device: str
) -> dict[str, str]:
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(local),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(here),
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
        "DS_ACCELERATOR": device,
    }


def _threads(count: int, device: str) -> dict[str, str]:
    if device != "cpu" or "OMP_NUM_THREADS" in os.environ:
        return {}
    return {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count))}


def _launcher(options: DeepSpeedOptions, hostfile: str, files: Files) -> list[str]:
    return [
        sys.executable,
        "-m",
        "deepspeed.launcher.runner",
        "--hostfile",
        str(Path(hostfile).absolute()),
        "--master_port",
        str(options.master_port or _LAUNCHER_PORT),
        "--no_local_rank",
        "--module",
        _WORKER,
        str(files.directory),
    ]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        # The group may outlive its first process.
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def answer(stdin: IO[bytes], word: bytes) -> None:
    """Tell rank 0 to go on after a step, or to stop. One that is gone has its own error."""
    with suppress(BrokenPipeError):
        stdin.write(word)
        stdin.flush()


def pause() -> None:
    """Between two looks at processes and progress; rank 0 waits for one after each step."""
    time.sleep(0.005)
