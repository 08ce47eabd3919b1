"""One sandboxed process: its pipes, its limits as seen from outside, and its end with all that it started."""

from __future__ import annotations

import json
import os
import select
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress

from dasd.errors import BackendError
from dasd.evaluation.sandbox.bubblewrap import (
    SandboxError,
    plain_environment,
    python_command,
    sandbox_command,
)
from dasd.evaluation.sandbox.groups import new_group
from dasd.evaluation.sandbox.limits import Limits, Outcome, Result
from dasd.evaluation.sandbox.processes import files_in_tmp, usage
from dasd.evaluation.sandbox.seccomp import seccomp_filter

__all__ = ["Box", "finish"]

_START_SECONDS = 60.0
_WATCH_SECONDS = 0.05
_OUT_OF_MEMORY = 91
_MOST_SIGNALS = 256
_MOST_REPORT = 8 << 10
_STARTED = b"started\n"


class Box:
    """A process inside, from its start to its end. Use as a context manager: leaving it ends everything in it."""

    def __init__(
        self,
        mode: str,
        job: dict[str, object],
        limits: Limits,
        stdin: bytes = b"",
        descriptors: Sequence[int] = (),
        without_sandbox: bool = False,
        most_report: int = _MOST_REPORT,
    ) -> None:
        """``mode`` and ``job`` are for inside.py; ``descriptors`` are passed on to it. Raises SandboxError.

        More than ``most_report`` bytes on the descriptor of reports end it.
        """
        self.limits = limits
        self.stopped: Outcome | None = None
        self.started: float | None = None
        self.seconds = 0.0
        self._sandboxed = not without_sandbox
        self._most_report = most_report + len(_STARTED)
        self._begun = time.monotonic()
        self._directory = None if self._sandboxed else tempfile.TemporaryDirectory(prefix="dasd-")
        self._read: dict[int, bytearray] = {}
        self._write: dict[int, memoryview] = {}
        self._init: int | None = None
        self._init_pid = 0
        self._group = new_group(limits) if self._sandboxed else None
        self._start(mode, {**job, "limits": _rlimits(limits, self._sandboxed)}, stdin, descriptors)

    def _start(self, mode: str, job: dict[str, object], stdin: bytes, descriptors: Sequence[int]) -> None:
        theirs: list[int] = []

        def pipe(reads: bool) -> int:
            """The inside's end of a new pipe; ours is kept."""
            reader, writer = os.pipe2(os.O_CLOEXEC)
            ours, other = (writer, reader) if reads else (reader, writer)
            os.set_blocking(ours, False)
            theirs.append(other)
            self._ours.append(ours)
            return other

        self._ours: list[int] = []
        try:
            # In this order: stdin, job, stdout, stderr, report, info.
            ends = [pipe(True), pipe(True), pipe(False), pipe(False), pipe(False), pipe(False)]
            passed = [ends[1], ends[4], *descriptors]
            command = python_command(mode, *passed)
            if self._sandboxed:
                seccomp = self._filter(theirs)
                passed += [ends[5]] + ([seccomp] if seccomp is not None else [])
                command = sandbox_command(self.limits, ends[5], seccomp) + command
            if self._group is not None:
                command = self._group.command() + command
            self._process = subprocess.Popen(
                command,
                stdin=ends[0],
                stdout=ends[2],
                stderr=ends[3],
                pass_fds=passed,
                env=plain_environment(),
                cwd=self._directory.name if self._directory else "/",
                start_new_session=True,
            )
        except BaseException:
            for descriptor in self._ours:
                os.close(descriptor)
            if self._group is not None:
                self._group.remove()
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        self._exit = os.pidfd_open(self._process.pid)
        self._write = {
            self._ours[0]: memoryview(stdin),
            self._ours[1]: memoryview(json.dumps(job).encode()),
        }
        self._out, self._err, self._report, self._info = self._ours[2:]
        self._read = {descriptor: bytearray() for descriptor in self._ours[2:]}

    @staticmethod
    def _filter(theirs: list[int]) -> int | None:
        program = seccomp_filter()
        if program is None:
            return None
        reader, writer = os.pipe2(os.O_CLOEXEC)
        theirs.append(reader)
        os.write(writer, program)
        os.close(writer)
        return reader

    def __enter__(self) -> Box:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        for descriptor in (*self._ours, self._exit, *([self._init] if self._init is not None else [])):
            with suppress(OSError):
                os.close(descriptor)
        self._ours = []
        if self._group is not None:
            self._group.remove()
        if self._directory is not None:
            self._directory.cleanup()

    @property
    def over(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def settle(self, seconds: float) -> None:
        """Wait at most so long for its end: why it ended is then known."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def report(self) -> bytes:
        """What the inside reported after its start."""
        return bytes(self._read[self._report]).removeprefix(_STARTED)

    def register(self, selector: selectors.BaseSelector) -> None:
        """Have ``selector`` watch every descriptor of this box."""
        for descriptor in self._read:
            selector.register(descriptor, selectors.EVENT_READ, self)
        for descriptor in self._write:
            selector.register(descriptor, selectors.EVENT_WRITE, self)
        selector.register(self._exit, selectors.EVENT_READ, self)

    def ready(self, descriptor: int, selector: selectors.BaseSelector) -> None:
        """Read or write what a descriptor is ready for."""
        if descriptor in self._write:
            with suppress(BlockingIOError):
                try:
                    written = os.write(descriptor, self._write[descriptor][:65536])
                except BrokenPipeError:
                    written = len(self._write[descriptor])
                self._write[descriptor] = self._write[descriptor][written:]
            if not self._write[descriptor]:
                del self._write[descriptor]
                selector.unregister(descriptor)
                self._ours.remove(descriptor)
                os.close(descriptor)
        elif descriptor in self._read:
            if not self._take(descriptor):
                selector.unregister(descriptor)
        else:
            selector.unregister(descriptor)

    def _take(self, descriptor: int) -> bool:
        """Read what is there; False at the end."""
        with suppress(BlockingIOError):
            part = os.read(descriptor, 65536)
            self._read[descriptor] += part
            if (
                descriptor == self._info
                and self._init is None
                and self._read[descriptor].rstrip().endswith(b"}")
            ):
                self._init_pid = int(json.loads(self._read[descriptor])["child-pid"])
                with suppress(ProcessLookupError):
                    self._init = os.pidfd_open(self._init_pid)
            if (
                descriptor == self._report
                and self.started is None
                and self._read[descriptor].startswith(_STARTED)
            ):
                self.started = time.monotonic()
            printed = len(self._read[self._out]) + len(self._read[self._err])
            if printed > self.limits.output_bytes or len(self._read[self._report]) > self._most_report:
                self.stop(Outcome.OUTPUT)
            return bool(part)
        return True

    def check(self, now: float) -> None:
        """Stop it if it is over a limit that is held from outside: time, memory, processes."""
        if self.started is None:
            if now - self._begun > _START_SECONDS:
                self.kill()
            return
        if now - self.started > self.limits.wall_seconds:
            self.stop(Outcome.TIMEOUT)
        elif self._sandboxed and self._init_pid:
            processes, resident = usage(self._init_pid)
            if resident > self.limits.memory_bytes:
                self.stop(Outcome.MEMORY)
            elif processes > self.limits.processes + 4:  # bubblewrap's own and setpriv
                self.stop(Outcome.PROCESSES)
            elif files_in_tmp(self._init_pid) > self.limits.files or self._over_group():
                self.stop(Outcome.MEMORY)

    def _over_group(self) -> bool:
        return self._group is not None and self._group.exceeded()

    def stop(self, outcome: Outcome) -> None:
        """End it for ``outcome``."""
        self.stopped = self.stopped or outcome
        self.kill()

    def kill(self) -> None:
        """End every process inside; when this returns none is left."""
        if self._init is not None:
            # The first process of a namespace takes all others with it, and is gone only after them.
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._init, signal.SIGKILL)
            select.select([self._init], [], [], 30.0)
        elif not self._sandboxed:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        if self._init is None:
            self._process.kill()
        self._process.wait()
        self.seconds = self.seconds or time.monotonic() - (self.started or self._begun)

    def result(self) -> Result:
        """What became of it, once it has ended. SandboxError if it never started, BackendError if it was killed."""
        ended = self.over
        self.kill()
        for descriptor in self._read:
            while self.stopped is None and self._pending(descriptor) and self._take(descriptor):
                pass
        if self.stopped is None and self._over_group():
            self.stopped = Outcome.MEMORY
        code = self._process.returncode
        if code < 0 and ended and self.stopped is None and self._sandboxed:
            # bubblewrap tells its program's end by a positive code: this is no doing of the program.
            raise BackendError(
                f"a sandbox was killed from outside, by signal {-code}; its program isn't judged. Give the same "
                "command again: it continues where it stopped"
            )
        if self.started is None:
            said = bytes(self._read[self._err]).decode("utf-8", "replace").strip()
            raise SandboxError(_not_started(said, code))
        ended_by = -code if code < 0 else code - 128 if code > 128 else None
        outcome = self.stopped or _outcome(code, ended_by)
        return Result(
            outcome=outcome,
            exit_code=None if self.stopped or ended_by else code,
            signal=None if self.stopped else ended_by,
            seconds=self.seconds,
            stdout=self._text(self._out),
            stderr=self._text(self._err),
        )

    def _pending(self, descriptor: int) -> bool:
        return bool(select.select([descriptor], [], [], 0)[0])

    def _text(self, descriptor: int) -> str:
        return bytes(self._read[descriptor][: self.limits.output_bytes]).decode("utf-8", "replace")


def finish(main: Box, others: Sequence[Box] = ()) -> None:
    """Carry data until ``main`` ends, or one of ``others`` is stopped for a limit."""
    boxes = [main, *others]
    with selectors.DefaultSelector() as selector:
        for box in boxes:
            box.register(selector)
        next_check = time.monotonic() + _WATCH_SECONDS
        while not main.over and not any(box.stopped for box in others):
            for key, _ in selector.select(max(0.0, next_check - time.monotonic())):
                if key.fd in selector.get_map():
                    key.data.ready(key.fd, selector)
            now = time.monotonic()
            if now >= next_check:
                next_check = now + _WATCH_SECONDS
                for box in boxes:
                    box.check(now)


def _rlimits(limits: Limits, sandboxed: bool) -> dict[str, int]:
    held = {
        "RLIMIT_CPU": limits.cpu_seconds,
        "RLIMIT_AS": limits.memory_bytes,
        "RLIMIT_FSIZE": limits.file_bytes,
        "RLIMIT_NOFILE": limits.open_files,
        "RLIMIT_CORE": 0,
        # Both are the kernel's memory, held by no process.
        "RLIMIT_MSGQUEUE": 0,
        "RLIMIT_SIGPENDING": _MOST_SIGNALS,
    }
    # Without a user namespace of its own, the user's other processes would count.
    return {**held, "RLIMIT_NPROC": limits.processes} if sandboxed else held


def _outcome(code: int, ended_by: int | None) -> Outcome:
    if code == 0:
        return Outcome.PASSED
    if code == _OUT_OF_MEMORY:
        return Outcome.MEMORY
    if ended_by == signal.SIGXCPU:
        return Outcome.TIMEOUT
    return Outcome.CRASH if ended_by is not None else Outcome.FAILED


def _not_started(said: str, code: int) -> str:
    return (
        f"the sandbox didn't start (exit code {code}): {said[-500:] or 'nothing was said'}. bubblewrap needs user "
        "namespaces: in a container allow them (or run it with --privileged); on Ubuntu 23.10 or newer see "
        "docs/sandbox.md on AppArmor"
    )
