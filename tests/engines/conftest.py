"""End-to-end tests with real engines: `make test-engines`. Elsewhere (`make test`) they aren't collected."""

from __future__ import annotations

import os
import select
import subprocess
import uuid
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

collect_ignore_glob = [] if find_spec("vllm") and find_spec("deepspeed") else ["test_*.py"]

MARK = "DASD_TEST_MARK"


class Commands:
    """Runs commands whose descendants are known by a variable in their environment."""

    def __init__(self) -> None:
        self._mark = uuid.uuid4().hex

    def run(self, arguments: list[str], seconds: float = 280) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, offline."""
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "NO_COLOR": "1", MARK: self._mark}
        return subprocess.run(
            arguments, capture_output=True, text=True, env=environment, timeout=seconds, check=False
        )

    def left_behind(self, seconds: float = 15) -> list[str]:
        """Command lines of descendants that still run after a while; what is about to end may do so."""
        return [line for pid, line in self._running() if not _ends(pid, seconds)]

    def _running(self) -> Iterator[tuple[int, str]]:
        wanted = f"{MARK}={self._mark}".encode()
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if wanted in (path / "environ").read_bytes().split(b"\0"):
                    yield int(path.name), (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # ended meanwhile, or another user's


def _ends(pid: int, seconds: float) -> bool:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    ended = bool(poller.poll(seconds * 1000))
    os.close(descriptor)
    return ended


@pytest.fixture(scope="session")
def commands() -> Iterator[Commands]:
    """One for all tests; at the end nothing of them is left."""
    made = Commands()
    yield made
    assert made.left_behind() == []
