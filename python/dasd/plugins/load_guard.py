"""Around a plugin's code while it loads: what it does to the process has no effect, and is told with its name."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import IO, Any, NoReturn

from dasd.errors import PluginError
from dasd.plugins.state import restored, tell

__all__ = ["STRAY", "LoadingTooLong", "loading"]

STRAY: list[tuple[str, threading.Thread]] = []
"""Threads that plugins started while they loaded and that Python would wait for at its end, with the plugin's name."""

_SLOW_SECONDS = 2.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class LoadingTooLong(BaseException):
    """Raised inside a plugin's code; no Exception, so that the code doesn't take it for one of its own."""


class _Pressed:
    """A handler of SIGINT that counts, and does what the one before it does."""

    def __init__(self, former: Any) -> None:
        self.former = former
        self.times = 0

    def __call__(self, number: int, frame: FrameType | None) -> Any:
        self.times += 1
        return self.former(number, frame)


@contextmanager
def loading(plugin: str, seconds: float | None = None) -> Iterator[None]:
    """Run a plugin's import or registration.

    What it prints goes to stderr; after two seconds stderr says that it is still loading; ``os._exit`` becomes
    SystemExit; handlers of SIGINT and SIGTERM are put back, as are the settings of ``restored``. A KeyboardInterrupt
    that nobody pressed is its own and becomes PluginError. ``seconds``: LoadingTooLong is raised inside after them
    (in the main thread, where alone signals work).
    """
    before = set(threading.enumerate())
    main = threading.current_thread() is threading.main_thread()
    pressed = _Pressed(signal.getsignal(signal.SIGINT))
    if main and callable(pressed.former):
        signal.signal(signal.SIGINT, pressed)
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    slow = threading.Timer(
        _SLOW_SECONDS, tell, (f"plugin {plugin} is still loading after {_SLOW_SECONDS:.0f} s",)
    )
    slow.daemon = True
    try:
        with ExitStack() as around:
            around.enter_context(_output(plugin))
            around.enter_context(_no_exit())
            if seconds is not None and main:
                around.enter_context(_limit(seconds))
            slow.start()
            around.callback(slow.cancel)
            around.enter_context(restored(plugin))
            yield
    except KeyboardInterrupt as error:
        if pressed.times:
            raise
        raise PluginError("it raised KeyboardInterrupt, which nobody pressed") from error
    finally:
        for number, handler in handlers.items():
            if main and handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)
                tell(f"plugin {plugin} replaced the handler of {number.name}; it is put back")
        if main and callable(pressed.former):
            signal.signal(signal.SIGINT, pressed.former)
        STRAY.extend(
            (plugin, t) for t in threading.enumerate() if t not in before and t is not slow and not t.daemon
        )


@contextmanager
def _output(plugin: str) -> Iterator[None]:
    """Whatever reaches standard output, by print or by its descriptor, is told on stderr afterwards."""
    try:
        kept = os.dup(1)
    except OSError:  # closed
        yield
        return
    file = _file()
    try:
        _flush()
        os.dup2(file.fileno() if file else 2, 1)
        yield
    finally:
        _flush()
        os.dup2(kept, 1)
        os.close(kept)
        if file:
            file.seek(0)
            for line in file.read(10_000).decode(errors="replace").splitlines():
                tell(f"plugin {plugin} printed: {line}")
            file.close()


def _file() -> IO[bytes] | None:
    try:
        return tempfile.TemporaryFile()
    except OSError:  # a full disk; then it goes to stderr without the name
        return None


def _flush() -> None:
    if sys.stdout is not None and not sys.stdout.closed:
        sys.stdout.flush()


@contextmanager
def _no_exit() -> Iterator[None]:
    """``os._exit`` of this process would end it without a word; that of a fork stays what it is."""
    own, leave = os.getpid(), os._exit

    def refused(status: int) -> NoReturn:
        if os.getpid() != own:
            leave(status)
        raise SystemExit(f"it called os._exit({status})")

    os._exit = refused
    try:
        yield
    finally:
        os._exit = leave


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    def over(_number: int, _frame: FrameType | None) -> None:
        raise LoadingTooLong(f"it was still loading after {seconds:g} s")

    former: Callable[..., Any] | int | None = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # again and again, for code that catches everything
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
