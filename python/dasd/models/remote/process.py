"""A worker process: found, started, greeted, watched, and never left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, TypeVar

from pydantic import ValidationError

from dasd.base.printable import echo
from dasd.errors import BackendError, InputError, PluginError
from dasd.models.remote.channel import PROTOCOL, Channel, ChannelClosed, GarbledError, Kind, Message
from dasd.models.remote.messages import Hello, decode
from dasd.version import __version__

__all__ = ["OWN_VARIABLES", "WorkerProcess", "interpreter"]

BodyT = TypeVar("BodyT")

START_SECONDS = 300.0
"""What Python and dasd may take to start; on a shared file system that is long."""
STOP_SECONDS = 45.0
"""What a worker may take to stop before it is killed; more than it gives its backend."""
_DYING_SECONDS = 5.0
_FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP)
"""Codes of a process that was ended, and is no worse for it the next time."""
OWN_VARIABLES = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
"""Variables of this environment that would leak its packages into the other one."""
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_LOG_LINES, _SHOWN_LINES, _LINE_LENGTH = 200, 15, 500


def interpreter(python: str, key: str) -> Path:
    """The Python that ``python`` means: a program, or a directory of a virtual environment.

    Symbolic links stay as they are: a virtual environment is known by where its link lies.
    Raises InputError, which names ``key``, for a path that isn't there or can't be run.
    """
    path = Path(python).expanduser().absolute()
    if path.is_dir():
        path = path / "bin" / "python"
    wanted = "wanted another environment's Python, or the directory of a virtual environment"
    if not path.is_file():
        raise InputError(f"{key}: there is no {path}; {wanted}")
    if not os.access(path, os.X_OK):
        raise InputError(f"{key}: {path} isn't a program that may be run; {wanted}")
    return path


class WorkerProcess:
    """``PYTHON -m dasd.models.remote.worker``, greeted: same protocol, same version of dasd.

    It runs in a session of its own: Ctrl-C in the terminal reaches this process, which ends it in order.
    """

    def __init__(self, python: str, key: str, start_seconds: float = START_SECONDS) -> None:
        """Start the worker. ``key`` names the recipe key in messages, e.g. ``teacher.python``.

        Raises InputError for a path that can't be run, PluginError for an environment without dasd or with
        another version of it, BackendError for a worker that was killed meanwhile.
        """
        self.path = interpreter(python, key)
        self._key = key
        self._deadline: float | None = time.monotonic() + start_seconds
        self._start_seconds = start_seconds
        try:
            # -P: the working directory must not shadow what is installed there.
            self._process = subprocess.Popen(
                [self.path, "-P", "-m", "dasd.models.remote.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
                env=_environment(self.path),
            )
        except OSError as error:
            raise InputError(f"{key}: {self.path} can't be run: {error.strerror}") from error
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        assert stdin is not None and stdout is not None and stderr is not None
        self._stdin, self._stdout = stdin, stdout
        self._log = _Log(stderr)
        self._channel = Channel(stdout.fileno(), stdin.fileno(), self._check)
        self._open = True
        try:
            self._greet()
        except BaseException:
            self.close(patience=0)
            raise

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    def send(self, kind: Kind, number: int = 0, body: bytes = b"") -> None:
        """Send one message. Raises BackendError when the worker is dead or closed."""
        self._refuse_closed()
        try:
            self._channel.send(kind, number, body)
        except ChannelClosed:
            raise self._died() from None

    def receive(self) -> Message:
        """The next message. Raises BackendError when the worker is dead or closed, or sends none."""
        self._refuse_closed()
        try:
            return self._channel.receive()
        except ChannelClosed:
            raise self._died() from None
        except GarbledError as error:
            raise self.garbled(error) from None

    def read(self, message: Message, body: Callable[[bytes], BodyT], *kinds: Kind) -> BodyT:
        """What ``body`` makes of the message's. Raises BackendError where it can't, and for other kinds of message."""
        try:
            if message.kind not in kinds:
                raise GarbledError(f"{message.kind!r} where {' or '.join(map(repr, kinds))} was wanted")
            return body(message.body)
        except (GarbledError, ValidationError) as error:
            raise self.garbled(error) from error

    def garbled(self, error: GarbledError | ValidationError) -> BackendError:
        """Ends the worker, whose messages can't be understood; the error to raise."""
        self.close(patience=0)
        if isinstance(error, ValidationError):
            found = error.errors(include_url=False, include_input=False)[0]
            why = ": ".join([*map(str, found["loc"]), found["msg"]])
        else:
            why = str(error)
        return BackendError(
            f"{self._key}: the worker in {self.path} sent what is no answer of dasd's ({why[:300]}); look for what "
            "else writes to its pipe (a program that the backend starts, say), or install dasd and the plugin there "
            f"anew. {self._log.last_lines()}"
        )

    def last_lines(self) -> str:
        """The end of what the worker wrote to its standard error, for messages."""
        return self._log.last_lines()

    def close(self, patience: float = STOP_SECONDS) -> None:
        """End the worker: it sees the end of its input, closes its backend and leaves; else it is killed.

        ``patience``: seconds to wait for it. A second call does nothing; an interrupt while waiting kills it at once.
        """
        if not self._open:
            return
        self._open = False
        clean = False
        try:
            self._stdin.close()
            self._process.wait(patience)
            clean = True
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._end_group(signal.SIGTERM if clean else signal.SIGKILL)
            self._stdout.close()

    # -- starting ----------------------------------------------------------------------------------

    def _greet(self) -> None:
        try:
            self._log.add(self._channel.skip_magic())
            message = self._channel.receive()
            hello = decode(Hello, message.body)
        except ChannelClosed:
            raise self._no_worker() from None
        except (GarbledError, ValidationError) as error:
            raise PluginError(
                f"{self._key}: {self.path} has another version of dasd, whose worker answers differently; "
                f"wanted {__version__} in both environments"
            ) from error
        self._deadline = None
        if (hello.protocol, hello.dasd) != (PROTOCOL, __version__):
            raise PluginError(
                f"{self._key}: {self.path} has dasd {hello.dasd} (protocol {hello.protocol}), this "
                f"environment {__version__} (protocol {PROTOCOL}); wanted the same version in both"
            )

    def _no_worker(self) -> PluginError | BackendError:
        code = self._reap()
        if code in _FROM_OUTSIDE:
            return self._died()
        log = self._log.last_lines()
        if "Unknown option: -P" in log:
            return PluginError(f"{self._key}: {self.path} is too old; wanted Python 3.11 or newer")
        if "No module named dasd" in log or "No module named 'dasd" in log:
            return PluginError(
                f"{self._key}: {self.path} has no dasd, or one that knows no workers; install dasd "
                f"{__version__} and the backend's plugin there: {self.path} -m pip install dasd=={__version__}"
            )
        return PluginError(
            f"{self._key}: {self.path} doesn't start dasd's worker ({_ending(code)}); wanted a Python "
            f"3.11 or newer with dasd {__version__}. {log}"
        )

    # -- ending ------------------------------------------------------------------------------------

    def _check(self) -> None:
        """Called while a pipe is silent. A process that the worker forked may hold its end of it open."""
        if self._process.poll() is not None:
            raise ChannelClosed
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise PluginError(
                f"{self._key}: {self.path} started no dasd worker within {self._start_seconds:g} s. "
                f"{self._log.last_lines()}"
            )

    def _refuse_closed(self) -> None:
        if not self._open:
            raise BackendError(f"{self._key}: the worker in {self.path} is closed; open the model again")

    def _died(self) -> BackendError:
        code = self._reap()
        self.close()
        hint = "; the system kills what takes more memory than there is" if code == -signal.SIGKILL else ""
        return BackendError(
            f"{self._key}: the worker in {self.path} {_ending(code)}{hint}. Give the same command again: "
            f"finished rows are kept. {self._log.last_lines()}"
        )

    def _reap(self) -> int:
        with suppress(subprocess.TimeoutExpired):  # it closed its pipe and stays
            self._process.wait(_DYING_SECONDS)
        self._end_group(signal.SIGKILL)
        return self._process.wait()

    def _end_group(self, with_signal: signal.Signals) -> None:
        """What the worker started (an engine's own processes) goes with it."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, with_signal)
        self._process.wait()
        self._log.finish()


class _Log:
    """The last lines of a worker's standard error, read by a thread so that the worker never waits for it.

    With ``DASD_DEBUG=1`` they are shown as they come.
    """

    def __init__(self, stderr: IO[bytes]) -> None:
        self._stderr = stderr
        self._lines: deque[str] = deque(maxlen=_LOG_LINES)
        self._shown = os.environ.get("DASD_DEBUG", "") not in ("", "0")
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def add(self, text: bytes) -> None:
        """Lines that came another way."""
        for line in text.decode(errors="replace").splitlines():
            self._line(line)

    def last_lines(self) -> str:
        """``Its last lines: ...``, or that there are none."""
        lines = list(self._lines)[-_SHOWN_LINES:]
        return "Its last lines:\n  " + "\n  ".join(lines) if lines else "It wrote no lines."

    def finish(self) -> None:
        """Read what is there to its end. A process that the worker left may hold the pipe open: not for long."""
        self._thread.join(timeout=2)

    def _follow(self) -> None:
        rest = b""
        with self._stderr, suppress(OSError, ValueError):
            while data := self._stderr.read(65536):
                *lines, rest = (rest + data).replace(b"\r", b"\n").split(b"\n")
                for line in lines:
                    self.add(line)
                rest = rest[-_LINE_LENGTH * 4 :]  # a line without end must not fill the memory
        self.add(rest)

    def _line(self, line: str) -> None:
        plain = "".join(c for c in _COLOURS.sub("", line.rstrip()) if c.isprintable())[:_LINE_LENGTH]
        if plain:
            self._lines.append(plain)
            if self._shown:
                echo(f"worker: {plain}", err=True)


def _environment(python: Path) -> dict[str, str]:
    """This process's environment, as if that Python's own were active: its programs (ninja) come first."""
    kept = {k: v for k, v in os.environ.items() if k not in OWN_VARIABLES}
    return {**kept, "PATH": os.pathsep.join([str(python.parent), kept.get("PATH", os.defpath)])}


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    with suppress(ValueError):
        return f"was killed by {signal.Signals(-code).name}"
    return f"was killed by signal {-code}"
