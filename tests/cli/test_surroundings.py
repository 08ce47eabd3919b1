"""Places and states that a command may find itself in: told in one line with the right exit code, others unharmed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests import command
from tests.plugin_factory import install

from dasd.cli import cli, guard


def test_a_current_directory_that_was_removed(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run(
        ["sh", "-c", f"rmdir {gone} && exec {sys.executable} -m dasd pipeline demo --dry-run --run runs/x"],
        cwd=gone,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: the current directory was removed; change to another")


def test_what_is_no_error_of_dasds_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a command: the code of a plugin is the one that a test can have raise."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(cli, "_plugins_loaded", False)
    monkeypatch.setattr(cli, "commands", {})
    install(
        tmp_path,
        "raises",
        "import click\nfrom dasd.api import hookimpl\n@hookimpl\ndef dasd_commands(cli):\n"
        "    def memory():\n        raise MemoryError\n"
        "    def warned():\n        raise UserWarning('mind')\n"
        "    cli.add_command(click.Command('memory', callback=memory))\n"
        "    cli.add_command(click.Command('warned', callback=warned))\n",
    )
    for name, words in (
        ("memory", "error: out of memory. What is finished is kept"),
        ("warned", "error: a warning was made an error (UserWarning): mind"),
    ):
        done = command.dasd(name)
        assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr


def test_a_thread_that_a_run_left_is_named_while_the_end_waits(tmp_path: Path) -> None:
    """A hook of a run may leave one that still sends something; the command would hang without a word."""
    code = (
        "import click, threading, time\nfrom dasd.api import hookimpl\n@hookimpl\ndef dasd_commands(cli):\n"
        "    def body():\n"
        f"        threading.Thread(target=time.sleep, args=({guard._WAITING_SECONDS + 0.5},), name='sender').start()\n"
        "    cli.add_command(click.Command('leave', callback=body))\n"
    )
    install(tmp_path, "leaves", code)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "dasd", "leave"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert "dasd is done and waits for a thread that still runs (sender); Ctrl-C ends it" in done.stderr
