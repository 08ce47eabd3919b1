"""Settings of the whole process that a plugin's code may change and must not keep: put back, and told with its name."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from dasd.base.printable import echo
from dasd.plugins.blame import current_directory

__all__ = ["restored", "tell"]


def tell(text: str) -> None:
    """A warning about a plugin, on stderr."""
    echo(f"warning: {text}", err=True)


@contextmanager
def restored(plugin: str) -> Iterator[None]:
    """Run a plugin's code; what it leaves changed of the standard streams and of ``_SETTINGS`` is put back."""
    streams = {name: (getattr(sys, name), _duplicate(number)) for name, number in _STREAMS.items()}
    before = {what: read() for what, (read, _) in _SETTINGS.items()}
    try:
        yield
    finally:
        changed = [name for name, (stream, kept) in streams.items() if _put_back(name, stream, kept)]
        for what, (read, write) in _SETTINGS.items():
            if before[what] is not None and read() != before[what]:
                with suppress(OSError):
                    write(before[what])
                changed.append(what)
        for what in changed:
            tell(f"plugin {plugin} changed {what}; it is put back")


_STREAMS = {"stdout": 1, "stderr": 2}


def _duplicate(number: int) -> int | None:
    try:
        return os.dup(number)
    except OSError:  # closed by whoever called dasd
        return None


def _put_back(name: str, stream: Any, kept: int | None) -> bool:
    """Have ``sys.NAME`` be ``stream`` again, or one like it where that was closed; whether anything was to do."""
    changed = getattr(sys, name) is not stream
    if stream is not None and stream.closed and kept is not None:
        os.dup2(kept, _STREAMS[name])
        stream = open(  # noqa: SIM115 (it stays open)
            _STREAMS[name], "w", encoding=stream.encoding, errors=stream.errors, closefd=False
        )
        changed = True
    setattr(sys, name, stream)
    if kept is not None:
        os.close(kept)
    return changed


def _umask() -> int:
    now = os.umask(0o077)
    os.umask(now)
    return now


def _torch_dtype() -> object:
    """torch's default type; float32, as it begins, while nobody has imported torch."""
    torch = sys.modules.get("torch")
    return "torch.float32" if torch is None else str(torch.get_default_dtype())


def _set_torch_dtype(name: str) -> None:
    torch = sys.modules["torch"]
    torch.set_default_dtype(getattr(torch, name.removeprefix("torch.")))


_SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "the current directory": (current_directory, os.chdir),
    "the umask": (_umask, os.umask),
    "the recursion limit": (sys.getrecursionlimit, sys.setrecursionlimit),
    "torch's default dtype": (_torch_dtype, _set_torch_dtype),
}
