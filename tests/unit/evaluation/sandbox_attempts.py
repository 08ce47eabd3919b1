"""What the tests of escapes share."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

from dasd.evaluation.sandbox import Limits, Result, run_program
from dasd.evaluation.sandbox.processes import usage

SMALL = Limits(cpu_seconds=2, wall_seconds=20, memory_bytes=256 << 20)


def attempt(source: str, limits: Limits = SMALL) -> Result:
    """Run, and see that nothing of it is left: no process, and this process unharmed."""
    before = os.getpid(), processes()
    result = run_program(textwrap.dedent(source), limits=limits)
    assert (os.getpid(), processes()) == before, "a process is left behind"
    return result


def processes() -> int:
    """This process and all below it; other tests may have left workers that wait for more."""
    return usage(os.getpid())[0]


def left_over(mark: str) -> list[str]:
    """Processes anywhere on the machine, this one aside, whose command line or environment holds ``mark``."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                if mark.encode() in (process / "cmdline").read_bytes():
                    found.append(process.name)
            except OSError:
                continue
    return found
