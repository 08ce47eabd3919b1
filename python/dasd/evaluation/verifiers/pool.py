"""A few worker processes that compare expressions, each killed and replaced when a comparison takes too long."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Literal, cast

from dasd.errors import PluginError

__all__ = ["CPU_SECONDS", "WALL_SECONDS", "Pool", "Verdict", "shared_pool"]

Verdict = Literal["right", "wrong", "timed out", "out of memory"]

CPU_SECONDS = 4.0
"""Processor time that one comparison may take; grades then don't depend on how busy the machine is."""
WALL_SECONDS = 30.0
"""Time after which a worker is killed in any case."""
_START_SECONDS = 300.0
_MEMORY = 4 << 30
_PATIENCE = 0.2
_MOST_WORKERS = 8


class Pool:
    """Workers, started when they are first needed, at most one a processor. Safe to share among threads.

    After a fork the child starts workers of its own. The workers run in sessions of their own, so Ctrl-C reaches
    this process alone, and end when it does, however it ends.
    """

    def __init__(
        self, size: int | None = None, cpu_seconds: float = CPU_SECONDS, wall_seconds: float = WALL_SECONDS
    ) -> None:
        """``size``: workers at most; None: processors that this process may use, at most eight."""
        processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.size = size or max(1, min(_MOST_WORKERS, processors))
        self._cpu_seconds, self._wall_seconds = cpu_seconds, wall_seconds
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._fresh()

    def compare(self, expected: str, found: str) -> Verdict:
        """Whether the answer ``found`` is ``expected``, or how its comparison failed.

        Raises PluginError if a worker can't be started.
        """
        verdict = self._compare(expected, found, threading.Event())
        return "out of memory" if verdict is None else verdict

    def _compare(self, expected: str, found: str, stop: threading.Event) -> Verdict | None:
        """None: the worker died twice, by no limit of its own; the system ends what takes too much memory."""
        for _ in range(2):
            with self._free:
                worker = self._take()
                try:
                    verdict = None if stop.is_set() else worker.ask(expected, found, self._wall_seconds)
                except BaseException:
                    self._end(worker)
                    raise
                with self._lock:
                    self._busy.discard(worker)
                    kept = worker.alive and self._open and not stop.is_set()
                    if kept:
                        self._idle.append(worker)
                if not kept:
                    worker.kill()
                if verdict is not None or stop.is_set() or not self._open:
                    return verdict
        return None

    def compare_all(self, pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        """A verdict for every (expected, found), by all workers at once."""
        if len(pairs) < 2:
            return [self.compare(*pair) for pair in pairs]
        stop = threading.Event()
        with ThreadPoolExecutor(min(self.size, len(pairs)), "dasd-grade") as threads:
            try:
                futures = [threads.submit(self._compare, *pair, stop) for pair in pairs]
                # Short waits: with the signal handlers that polars sets, Ctrl-C doesn't end a wait for a lock.
                while wait(futures, timeout=_PATIENCE).not_done:
                    pass
                found = [future.result() for future in futures]
            except BaseException:  # Ctrl-C must not wait for what is compared
                stop.set()
                threads.shutdown(wait=False, cancel_futures=True)
                self.interrupt()
                raise
        return ["out of memory" if verdict is None else verdict for verdict in found]

    def interrupt(self) -> None:
        """End the comparisons that are under way, in other threads, as timed out."""
        with self._lock:
            busy = list(self._busy)
        for worker in busy:
            with suppress(ProcessLookupError):
                worker.process.kill()

    def close(self) -> None:
        """End the workers. The pool starts new ones if it is used again."""
        with self._lock:
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.kill()

    def shut(self) -> None:
        """As ``close``, for good, busy workers too."""
        self._open = False
        self.close()
        self.interrupt()

    def processes(self) -> list[int]:
        """Process ids of the idle workers."""
        with self._lock:
            return [worker.process.pid for worker in self._idle]

    def after_fork(self) -> None:
        """In a forked child: leave the parent's workers alone, but hold none of their pipes open."""
        for worker in (*self._idle, *self._busy):
            worker.disown()
        self._fresh()

    def _fresh(self) -> None:
        self._lock = threading.Lock()
        self._free = threading.BoundedSemaphore(self.size)
        self._idle = []
        self._busy = set()
        self._open = True

    def _take(self) -> _Worker:
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if worker.alive:
                    self._busy.add(worker)
                    return worker
                worker.kill()
        try:
            worker = _Worker(self._cpu_seconds)
        except _KilledError:
            worker = _Worker(self._cpu_seconds)
        with self._lock:
            self._busy.add(worker)
        return worker

    def _end(self, worker: _Worker) -> None:
        with self._lock:
            self._busy.discard(worker)
        worker.kill()


class _KilledError(PluginError):
    """A worker was ended from outside while it started."""


class _Worker:
    """One process and its pipes."""

    def __init__(self, cpu_seconds: float) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "dasd.evaluation.verifiers.worker", str(cpu_seconds), str(_MEMORY)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "PYTHONUTF8": "1"},
        )
        try:
            started = self._line(_START_SECONDS)
        except BaseException:
            self.kill()
            raise
        if started != "ready":
            if started == "":
                self.process.wait()
            self.kill()
            killed = started == "" and self.process.returncode < 0
            raise (_KilledError if killed else PluginError)(
                f"the verifier 'math': its worker process didn't start (exit code {self.process.returncode}); "
                f"see what `{sys.executable} -P -m dasd.evaluation.verifiers.worker 4 4294967296` says"
            )

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def ask(self, expected: str, found: str, seconds: float) -> Verdict | None:
        """The verdict; a worker that gave none is dead afterwards. None: it was ended from outside."""
        stdin = self.process.stdin
        assert stdin is not None
        line: str | None = ""
        with suppress(BrokenPipeError):
            stdin.write(json.dumps([expected, found]).encode() + b"\n")
            line = self._line(seconds)
        if line in ("right", "wrong"):
            return cast("Verdict", line)
        if line == "out of memory":
            self.kill()
            return "out of memory"
        if line is None:  # it is silent
            self.kill()
            return "timed out"
        self.process.wait()
        self.kill()
        return "timed out" if self.process.returncode == -signal.SIGPROF else None

    def kill(self) -> None:
        """End it now, whatever it does."""
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        self._close()

    def disown(self) -> None:
        """Close the pipes of a process that is another's child."""
        self._close()
        self.process.returncode = 0

    def _close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def _line(self, seconds: float) -> str | None:
        """Its next line; "" at its end, None when time is over."""
        stdout = self.process.stdout
        assert stdout is not None
        end = time.monotonic() + seconds
        read = b""
        while not read.endswith(b"\n"):
            left = end - time.monotonic()
            if left <= 0 or not _readable(stdout.fileno(), left):
                return None
            part = os.read(stdout.fileno(), 4096)
            if not part:
                return ""
            read += part
        return read.decode().strip()


def _readable(descriptor: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN | select.POLLHUP)
    return bool(poll.poll(seconds * 1000))


_shared: Pool | None = None
_making = threading.Lock()


def shared_pool() -> Pool:
    """The pool of this process, which every verifier uses; ended when the process ends."""
    global _shared
    with _making:
        if _shared is None:
            _shared = Pool()
            atexit.register(_shared.shut)
            os.register_at_fork(after_in_child=_shared.after_fork)
        return _shared
