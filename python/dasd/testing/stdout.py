"""Catching what is written on stdout, by Python, by compiled code and by processes that were started."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Written", "caught_stdout"]


@dataclass
class Written:
    """What has been written; complete once the block is left."""

    text: str = ""


@contextlib.contextmanager
def caught_stdout() -> Iterator[Written]:
    """Hold back everything written on stdout inside the block: a command's results go there, nothing else."""
    written, python = Written(), io.StringIO()
    saved = os.dup(1)
    try:
        with tempfile.TemporaryFile() as file:
            os.dup2(file.fileno(), 1)
            try:
                with contextlib.redirect_stdout(python):
                    yield written
            finally:
                os.dup2(saved, 1)
                file.seek(0)
                written.text = python.getvalue() + file.read().decode(errors="replace")
    finally:
        os.close(saved)
