"""The command line as it is called, in this process: a start of Python that imports torch takes seconds."""

from __future__ import annotations

import io
import os
import subprocess
import warnings
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from dasd.cli import guard

Done = subprocess.CompletedProcess[str]


def dasd(*arguments: str | Path, cwd: Path | None = None, **environment: str) -> Done:
    """``dasd ARGUMENTS``: its exit code and what it wrote. Errors that it doesn't turn into words are raised."""
    command = list(map(str, arguments))
    out, err = io.StringIO(), io.StringIO()
    with (
        chdir(cwd or "."),
        redirect_stdout(out),
        redirect_stderr(err),
        mock.patch.dict(os.environ, {"COLUMNS": "80", **environment}),
        warnings.catch_warnings(),
    ):
        # What a process of its own begins with; here pytest has made them errors.
        warnings.simplefilter("default")
        code = guard.run(command)
    return Done(command, code, out.getvalue(), err.getvalue())
