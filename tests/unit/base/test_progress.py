from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from dasd.base.progress import Console, human_seconds


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


def test_plain_lines_are_few_and_go_to_stderr(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    with Console(clock=clock).task("sample-low", total=100, unit="responses") as task:
        for _ in range(100):
            clock.now += 0.2
            task.advance(1, loss=0.123456)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == "sample-low: 0/100 responses"
    assert lines[1] == "sample-low: 25/100 responses, 5/s, 15.0 s left, loss=0.1235"
    assert lines[-1] == "sample-low: 100/100 responses in 20.0 s (5/s), loss=0.1235"
    assert 4 <= len(lines) <= 6


def test_no_total_and_work_done_before(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    console = Console(clock=clock)
    with console.task("read") as task:
        clock.now += 2
        task.advance(3)
    with console.task("go on", total=10, unit="units", completed=8) as task:
        clock.now += 4
        task.advance(2)
    assert capsys.readouterr().err.splitlines() == [
        "read: 0",
        "read: 3 in 2.0 s (1.5/s)",
        "go on: 8/10 units",
        "go on: 10/10 units in 4.0 s (0.5/s)",
    ]


def test_a_step_that_fails_says_where_it_stopped(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    with pytest.raises(KeyboardInterrupt), Console(clock=clock).task("train", total=10) as task:
        task.advance(4)
        raise KeyboardInterrupt
    assert capsys.readouterr().err.splitlines()[-1] == "train: stopped at 4/10 in 0.0 s"


def test_quiet_shows_warnings_only(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(quiet=True)
    console.info("info")
    console.table("title", ["a"], [["b"]])
    with console.task("step", total=1) as task:
        task.advance()
    console.warn("[red]look")
    assert capsys.readouterr() == ("", "warning: [red]look\n")


def test_tables_and_details_are_for_who_asks(capsys: pytest.CaptureFixture[str]) -> None:
    for verbose, shown in ((False, ""), (True, "much\n")):
        console = Console(verbose=verbose)
        console.detail("much")
        assert capsys.readouterr().err == shown
        console.table("title", ["a"], [["b"]])
        assert ("title" in capsys.readouterr().err) == verbose


def test_table_and_markup_are_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(verbose=True)
    console.info("[bold]not markup[/bold]")
    console.table("After [each]", ["stage", "accuracy"], [["[low]", 0.123456], ["high", 7]])
    out, err = capsys.readouterr()
    assert out == ""
    for text in ("[bold]not markup[/bold]", "After [each]", "[low]", "0.1235", "7"):
        assert text in err


def test_what_stderr_cannot_show_is_escaped() -> None:
    code = "from dasd.base.progress import Console; Console().info('ünï')"
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=env, check=True)
    assert done.stderr == b"\\xfcn\\xef\n"


def on_terminal(code: str, **variables: str) -> tuple[str, str]:
    """What a program writes to a terminal on stderr, and to stdout."""
    master, slave = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", **variables}
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=slave, env=env, check=True
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            block = os.read(master, 65536)
        except OSError:  # the other side is closed
            break
        if not block:
            break
        shown += block
    os.close(master)
    return shown.decode(), done.stdout.decode()


BAR = """
from dasd.base.progress import Console
console = Console()
with console.task("outer [x]", total=2, unit="stages") as outer:
    with console.task("inner", total=10, unit="steps") as inner:
        inner.advance(5, loss=0.5)
        console.info("between")
        inner.advance(5)
    outer.advance()
console.warn("careful")
"""


def test_bar_on_a_terminal() -> None:
    shown, out = on_terminal(BAR)
    assert out == ""
    for text in ("outer [x]", "5/10 steps", "loss=0.5", "between", "inner: 10/10 steps in", "careful"):
        assert text in shown
    assert "\x1b[33mwarning: careful" in shown


def test_no_color_on_a_terminal() -> None:
    shown, _ = on_terminal(BAR, NO_COLOR="1")
    assert "careful" in shown
    assert "\x1b[33m" not in shown


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.24, "4.2 s"), (73, "1 min 13 s"), (3599.7, "1 h 00 min"), (7500, "2 h 05 min")]
)
def test_human_seconds(seconds: float, text: str) -> None:
    assert human_seconds(seconds) == text
