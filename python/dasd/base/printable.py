"""Text from anywhere as it may be shown: the one place where control characters are spelt out.

Models, servers, recipes and file names may hold escape sequences that repaint a terminal, or marks that turn
a line's direction around. Data files keep such text as it is; what people read goes through here.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from typing import IO

__all__ = ["echo", "printable", "silence"]

# C0 but for tab and line end, DEL and C1, marks of direction, characters without width, line separators, lone
# surrogates. The joiners U+200C and U+200D stay: Persian, Indic scripts and emoji are written with them.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff]|\r(?!\n)"
)


def printable(text: str) -> str:
    r"""``text`` with control characters as ``\uXXXX``, which JSON reads as the same text; safe to repeat."""
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def echo(text: object = "", *, err: bool = False, nl: bool = True, file: IO[str] | None = None) -> None:
    """Print ``text``, printable and whatever the encoding, to stdout, stderr (``err``) or ``file``.

    Flushed, so that a log shows it at once and a closed pipe is noticed here. Of stderr that is no error: whoever
    doesn't read what is said beside the output gets the output and the exit code all the same.
    """
    stream = file or (sys.stderr if err else sys.stdout)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    line = printable(str(text)).encode(encoding, "backslashreplace").decode(encoding)
    try:
        stream.write(line + ("\n" if nl else ""))
        stream.flush()
    except OSError:
        if not err:
            raise
        silence(stream)


def silence(stream: IO[str]) -> None:
    """Let the rest of ``stream`` go nowhere, once its reader has gone: Python's flush at exit would fail again."""
    with suppress(OSError, ValueError):  # no descriptor, or closed
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)
