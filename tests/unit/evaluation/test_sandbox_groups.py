"""A control group for each program. Run where DASD_CONTROL_GROUP names one to make them in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.evaluation.sandbox_attempts import attempt

from dasd.evaluation.sandbox import Limits, Outcome, SandboxError, run_program
from dasd.evaluation.sandbox.groups import PARENT, Group, new_group

needs_group = pytest.mark.skipif(PARENT not in os.environ, reason=f"{PARENT} isn't set")
SIXTEEN = "import os, time\nfor _ in range(4): os.fork()\n"
ATTACKS = {
    "sockets": """
import socket
kept = []
for _ in range(28):
    pair = socket.socketpair()
    kept.append(pair)
    for end in pair:
        end.setblocking(False)
        try:
            while True: end.send(b"x")
        except BlockingIOError: pass
time.sleep(30)
""",
    "mappings": """
import ctypes, mmap
libc = ctypes.CDLL(None)
area = mmap.mmap(-1, 4096 * 60000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
start = ctypes.addressof(ctypes.c_char.from_buffer(area))
for page in range(0, 60000, 2): libc.mprotect(ctypes.c_void_p(start + 4096 * page), 4096, 0)
time.sleep(30)
""",
}


@pytest.fixture
def parent() -> Iterator[Path]:
    """Where groups are made; none of this process is left in it."""
    path = Path(os.environ[PARENT])
    yield path
    assert not list(path.glob(f"dasd-{os.getpid()}-*"))


@needs_group
@pytest.mark.parametrize("kind", ATTACKS)
def test_memory_of_the_kernel_is_limited(kind: str, parent: Path) -> None:
    result = attempt(SIXTEEN + ATTACKS[kind], Limits(cpu_seconds=10, wall_seconds=20))
    assert result.outcome is Outcome.MEMORY, result.stderr


@needs_group
def test_an_honest_program_passes_in_a_group(parent: Path) -> None:
    result = attempt(
        SIXTEEN + "kept = bytearray(4 << 20)\nopen(f'/tmp/{os.getpid()}', 'w').write('x' * 1000)\n"
    )
    assert result.passed, result.stderr


@needs_group
def test_the_kernel_ends_what_outgrows_its_group(parent: Path) -> None:
    limits = replace(Limits(), memory_bytes=1 << 20, disk_bytes=1 << 20)
    group = Group(parent / f"dasd-{os.getpid()}-test", limits)
    try:
        taken = subprocess.run(
            [*group.command(), sys.executable, "-c", "kept = bytearray(300 << 20)"], check=False, timeout=20
        )
        assert taken.returncode == -9
        assert group.exceeded()
    finally:
        group.remove()


@needs_group
def test_what_a_killed_command_left_is_swept(parent: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = parent / f"dasd-{dead.pid}-0"
    left.mkdir()
    subprocess.run(
        [
            sys.executable,
            "-c",
            "from dasd.evaluation.sandbox import run_program; assert run_program('').passed",
        ],
        check=True,
    )
    assert not left.exists()


def test_a_directory_that_is_no_control_group_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PARENT, str(tmp_path))
    with pytest.raises(
        SandboxError, match=f"{PARENT} is {tmp_path}, and no memory control group can be made"
    ):
        run_program("")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.delenv(PARENT)
    assert new_group(Limits()) is None
