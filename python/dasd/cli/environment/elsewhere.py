"""The doctor of another environment: its own Python runs its own dasd."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from dasd.errors import InputError
from dasd.models.remote.process import OWN_VARIABLES, interpreter

__all__ = ["examine_elsewhere"]

_SECONDS = 300


def examine_elsewhere(python: Path) -> dict[str, Any]:
    """The report of another environment, as ``dasd doctor --json`` prints it there.

    ``python``: its interpreter, or the directory of a virtual environment. Raises InputError for a path that is
    neither, and where dasd isn't installed or is too old to report.
    """
    python = interpreter(str(python), "--python")
    environment = {name: value for name, value in os.environ.items() if name not in OWN_VARIABLES}
    command = [str(python), "-m", "dasd", "doctor", "--json"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, env=environment, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"--python {python} can't be run: {error}") from error
    try:
        report = json.loads(done.stdout)
    except ValueError as error:
        lines = [line for line in done.stderr.strip().splitlines() if line]
        last = lines[-1] if lines else f"exit code {done.returncode} and no output"
        raise InputError(
            f"--python {python}: dasd can't report there ({last}); install it in that environment: "
            f"{python} -m pip install dasd"
        ) from error
    if not isinstance(report, dict) or "problems" not in report:
        raise InputError(f"--python {python}: its dasd gives another report; install this version there too")
    return report
