"""Programs that take the kernel's memory, which no process holds. docs/sandbox.md sums them up."""

from __future__ import annotations

import shutil

import pytest
from tests.unit.evaluation.sandbox_attempts import attempt

from dasd.evaluation.sandbox import Limits, Outcome

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap isn't installed")

MANY = {
    "empty-files": "os.close(os.open(f'/tmp/{n}', os.O_CREAT))",
    "directories": "os.mkdir(f'/tmp/{n}')",
    "long-names": "os.mkdir('/tmp/' + f'{n:0250}')",
    "hard-links": "open('/tmp/first', 'a').close(); os.link('/tmp/first', f'/tmp/{n}')",
    "symbolic-links": "os.symlink('x' * 4000, f'/tmp/{n}')",
}


@pytest.mark.parametrize("kind", MANY)
def test_the_number_of_files_is_limited(kind: str) -> None:
    source = f"import itertools, os\nfor n in itertools.count():\n    {MANY[kind]}\n"
    result = attempt(source, Limits(cpu_seconds=10, wall_seconds=20, files=1000))
    assert result.outcome is Outcome.MEMORY, result.stderr


def test_an_honest_program_may_have_thousands_of_files() -> None:
    result = attempt("for n in range(5000): open(f'/tmp/{n}', 'w').close()\nimport time\ntime.sleep(0.2)")
    assert result.passed, result.stderr


def test_queues_watches_and_signals_are_refused_or_few() -> None:
    result = attempt("""
        import ctypes, resource
        libc = ctypes.CDLL(None, use_errno=True)
        print(libc.inotify_init(), ctypes.get_errno())
        print(libc.inotify_init1(0), ctypes.get_errno())
        print(libc.mq_open(b"/queue", 0o102, 0o600, None))
        print(resource.getrlimit(resource.RLIMIT_MSGQUEUE)[1])
        sent = 0
        libc.sigqueue.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
        import os, signal
        signal.pthread_sigmask(signal.SIG_BLOCK, [40])
        while sent < 100_000 and libc.sigqueue(os.getpid(), 40, None) == 0:
            sent += 1
        print(sent <= 256)
        """)
    assert result.stdout.split("\n")[:5] == ["-1 1", "-1 1", "-1", "0", "True"], result
