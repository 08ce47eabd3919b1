"""Starting the processes of a training, following them, and leaving none behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from dasd_deepspeed.job import Files
from dasd_deepspeed.options import DeepSpeedOptions

_WORKER = "dasd_deepspeed.worker"
_LAUNCHER_PORT = 29500
_END = 1 << 16
"""Bytes at the end of a log that are looked at."""


@contextmanager
def processes(
    options: DeepSpeedOptions, files: Files, count: int, device: str
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start the training's processes; when the block ends, however it does, they and their children are gone."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        if options.hostfile is not None:
            started.append(_start(_launcher(options, options.hostfile, files), files, "launcher", {}))
        else:
            port = options.master_port or _free_port()
            for rank in range(count):
                command = [sys.executable, "-m", _WORKER, str(files.directory)]
                started.append(_start(command, files, rank, _rank_environment(rank, count, port, device)))
        yield started
    finally:
        for process in started:
            _kill_group(process)


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


def _rank_environment(rank: int, count: int, port: int, device: str) -> dict[str, str]:
    threads = {} if device != "cpu" else {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count))}
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "DS_ACCELERATOR": device,
    } | {name: value for name, value in threads.items() if name not in os.environ}


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


def last_lines(log: Path, count: int = 15) -> str:
    """The end of a log that says something."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _END))
        text = file.read().decode("utf-8", "replace")
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-count:])


def new_lines(file: IO[str], rest: list[str]) -> Iterator[str]:
    """Whole lines that have come to ``file``; the begun one waits in ``rest``."""
    rest.append(file.read())
    *whole, begun = "".join(rest).split("\n")
    rest[:] = [begun]
    yield from whole


def answer(process: subprocess.Popen[bytes], word: bytes) -> None:
    """Tell rank 0 to go on after a step, or to stop. One that is gone has its own error."""
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.write(word)
        process.stdin.flush()


def pause() -> None:
    """Between two looks at processes and progress; rank 0 waits for one after each step."""
    time.sleep(0.005)
