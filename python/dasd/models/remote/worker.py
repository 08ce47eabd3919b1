"""The program that serves one backend to a dasd in another environment: ``PYTHON -m dasd.models.remote.worker``.

It speaks over what were its standard input and output, and ends when its input does: when the other side closes
it, dies, or is killed. Nobody starts it by hand.
"""

from __future__ import annotations

import io
import os
import platform
import queue
import signal
import sys
import threading
import traceback
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

import polars as pl

from dasd.base.records import ContinueRequest, SampleRequest, ScoreRequest
from dasd.errors import BackendError, PluginError
from dasd.models.remote.backend import Backend
from dasd.models.remote.channel import MAGIC, PROTOCOL, Channel, ChannelClosed, Message, frame_body
from dasd.models.remote.messages import (
    Asked,
    Continue,
    Describe,
    Failure,
    Hello,
    Open,
    Refused,
    Sample,
    Score,
    decode,
    encode,
)
from dasd.plugins.host import PluginHost
from dasd.plugins.registry import Registry
from dasd.plugins.roles import OpenedTeacher
from dasd.version import __version__

RequestT = TypeVar("RequestT", SampleRequest, ContinueRequest, ScoreRequest)
GRACE_SECONDS = 30.0
"""What a backend may take to stop. Then the worker and all that it started are killed."""


class Worker:
    """Serves requests one by one in the main thread; a second thread listens, for what can't wait."""

    def __init__(self, incoming: int, outgoing: int) -> None:
        self._parent = os.getppid()
        self._channel = Channel(incoming, outgoing, self._look_after_parent)
        self._calls: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._cancelled: set[int] = set()
        self._more: defaultdict[int, queue.SimpleQueue[Message | None]] = defaultdict(queue.SimpleQueue)
        self._state = threading.Lock()
        self._busy = False
        self._leaving = False
        self._teacher: OpenedTeacher | None = None

    def run(self) -> None:
        """Serve until the input ends."""
        self._channel.send_raw(MAGIC)
        self._channel.send("hello", body=encode(Hello(PROTOCOL, __version__, platform.python_version())))
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            while (call := self._calls.get()) is not None and self._enter():
                self._answer(call)
                with self._state:
                    self._busy = False
        except (KeyboardInterrupt, ChannelClosed):
            pass  # told to leave in the middle of a request
        with suppress(KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the former call may have met an interrupt under way
        if self._teacher is not None:
            self._teacher.close()

    def _enter(self) -> bool:
        with self._state:
            self._busy = not self._leaving
            return self._busy

    # -- listening, in a thread of its own ----------------------------------------------------------

    def _listen(self) -> None:
        try:
            while True:
                message = self._channel.receive()
                if message.kind == "cancel":
                    self._cancelled.add(message.number)
                    self._more[message.number].put(None)
                elif message.kind == "more":
                    self._more[message.number].put(message)
                else:
                    self._more[message.number] = queue.SimpleQueue()
                    self._calls.put(message)
        except ChannelClosed:
            pass
        finally:
            self._leave()

    def _look_after_parent(self) -> None:
        # Processes that the other side forked may hold its end of the pipe open after its death.
        if os.getppid() != self._parent:
            raise ChannelClosed

    def _leave(self) -> None:
        timer = threading.Timer(GRACE_SECONDS, os.killpg, (os.getpgrp(), signal.SIGKILL))
        timer.daemon = True
        timer.start()
        with self._state:
            self._leaving = True
            if self._busy:
                # A signal and not a flag: the main thread may wait inside the engine.
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        self._calls.put(None)

    # -- answering, in the main thread --------------------------------------------------------------

    def _answer(self, call: Message) -> None:
        try:
            if call.kind == "describe":
                self._channel.send("description", body=encode(describe(decode(Describe, call.body))))
            elif call.kind == "open":
                self._teacher = _open(decode(Open, call.body))
                self._channel.send("ready", body=encode(self._teacher.info))
            else:
                self._stream(call)
        except ChannelClosed:
            raise
        except Exception as error:  # noqa: BLE001 (the other side raises it)
            traceback.print_exc()
            self._channel.send("error", call.number, encode(Failure.of(error)))

    def _stream(self, call: Message) -> None:
        frames = self._frames(call)
        try:
            for frame in frames:
                if call.number in self._cancelled:
                    break
                self._channel.send("frame", call.number, frame_body(frame))
        finally:
            close = getattr(frames, "close", None)
            if close is not None:
                close()
            self._cancelled.discard(call.number)
            del self._more[call.number]
        self._channel.send("end", call.number)

    def _frames(self, call: Message) -> Iterator[pl.DataFrame]:
        if self._teacher is None:
            raise BackendError(f"got the request {call.kind!r} before a model was opened")

        def refused(sample_id: str, reason: str) -> None:
            self._channel.send("refused", call.number, encode(Refused(sample_id, reason)))

        if call.kind == "sample":
            sample = decode(Sample, call.body)
            return self._teacher.sample(
                self._requests(call, sample), replace(sample.spec, on_refused=refused)
            )
        if call.kind == "continue":
            go_on = decode(Continue, call.body)
            return self._teacher.continue_(
                self._requests(call, go_on), replace(go_on.spec, on_refused=refused)
            )
        score = decode(Score, call.body)
        return self._teacher.score(self._requests(call, score), replace(score.spec, on_refused=refused))

    def _requests(self, call: Message, first: Asked[RequestT]) -> Iterator[RequestT]:
        """Requests as they come, asked for while there are some left."""
        waiting = deque(first.requests)
        last = first.last
        low, hungry = len(waiting) // 2, False
        more = self._more[call.number]
        while waiting or not last:
            if not last and not hungry and len(waiting) <= low:
                self._channel.send("hungry", call.number)
                hungry = True
            if waiting and more.empty():
                yield waiting.popleft()
                continue
            message = more.get()
            if message is None:
                return  # cancelled
            following = decode(type(first), message.body)
            waiting.extend(following.requests)
            last, hungry = following.last, False


def describe(asked: Describe) -> Backend:
    """The backend of that name in this environment; its options are checked.

    Raises PluginError when no plugin here registers it, RecipeError for wrong options.
    """
    registry = _registry(asked.backend, f"{asked.section}.backend")
    registry.checked_options("teacher", asked.backend, asked.options, f"{asked.section}.options")
    return Backend.of(registry, asked.backend)


def _open(asked: Open) -> OpenedTeacher:
    settings = asked.settings.model_copy(update={"python": None})
    return _registry(settings.backend, "backend").make_teacher(settings)


def _registry(backend: str, key: str) -> Registry:
    """All that is installed here, which must include ``backend``."""
    broken: list[str] = []
    registry = PluginHost.load(warn=broken.append).registry
    names = registry.names("teacher")
    if backend not in names:
        raise PluginError(
            f"{key}: there is no teacher {backend!r} in the environment of {sys.executable}"
            f"; it has {', '.join(names)}. Install the plugin there: {sys.executable} -m pip install "
            f"dasd-{backend}" + "".join(f"\n{line}" for line in broken)
        )
    return registry


def main() -> None:
    """Keep standard input and output for messages, send whatever libraries print to standard error, serve."""
    incoming, outgoing = os.dup(0), os.dup(1)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what was printed must not be lost when this is killed
    # A shell that starts jobs in the background has them ignore it; this is how a request is interrupted.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    Worker(incoming, outgoing).run()


if __name__ == "__main__":
    main()
