"""Messages over two pipes: a kind, a number, a body of JSON or of Arrow IPC, each with its length before it.

Both ends use the same class. Nothing here blocks for good: while a pipe gives or takes nothing, ``idle`` is
called about twice a second, and ends the waiting by an exception when the other end is gone.
"""

from __future__ import annotations

import io
import os
import select
import struct
from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import polars as pl

__all__ = [
    "MAGIC",
    "PROTOCOL",
    "Channel",
    "ChannelClosed",
    "GarbledError",
    "Kind",
    "Message",
    "frame_body",
    "frame_of",
]

PROTOCOL = 4
"""Goes up with every change of the messages; both ends must have the same."""
MAGIC = b"\x00dasd worker\x00"
"""The worker's first bytes. What stands before them was printed by something that starts with Python."""

Kind = Literal[
    # to the worker
    "describe", "open", "sample", "continue", "score", "more", "cancel",
    # from the worker
    "hello", "description", "ready", "frame", "refused", "hungry", "end", "error",
]  # fmt: skip
_KINDS: tuple[Kind, ...] = get_args(Kind)
_HEAD = struct.Struct(">BIQ")
_READ_BYTES = 1 << 20
_MOST_BYTES = 1 << 32
"""Of a message. More is announced by what is no message."""
_IDLE_MILLISECONDS = 500


class ChannelClosed(Exception):  # noqa: N818
    """The other end is closed; whoever holds this end knows what that means."""


class GarbledError(Exception):
    """What came is no message, and nothing behind it can be read any more."""


class Message(NamedTuple):
    """One message. ``number``: the request that it belongs to, 0 outside of one."""

    kind: Kind
    number: int
    body: bytes


class Channel:
    """One end: reads messages from the descriptor ``incoming``, writes them to ``outgoing``."""

    def __init__(self, incoming: int, outgoing: int, idle: Callable[[], None]) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._idle = idle
        self._buffer = bytearray()
        os.set_blocking(outgoing, False)  # a write of more than the pipe holds must not block unseen

    def send(self, kind: Kind, number: int = 0, body: bytes = b"") -> None:
        """Write one message. Raises ChannelClosed when nobody reads."""
        self.send_raw(_HEAD.pack(_KINDS.index(kind), number, len(body)))
        self.send_raw(body)

    def send_raw(self, data: bytes) -> None:
        """Write bytes outside of any message. Raises ChannelClosed when nobody reads."""
        rest = memoryview(data)
        while rest:
            self._wait(self._outgoing, select.POLLOUT)
            try:
                rest = rest[os.write(self._outgoing, rest) :]
            except BlockingIOError:
                continue
            except BrokenPipeError as error:
                raise ChannelClosed from error

    def receive(self) -> Message:
        """The next message. Raises ChannelClosed when the other end is closed, GarbledError for what is no message."""
        self._fill(_HEAD.size)
        kind, number, length = _HEAD.unpack_from(self._buffer)
        if kind >= len(_KINDS) or length > _MOST_BYTES:
            raise GarbledError(f"{bytes(self._buffer[:60])!r} where a message should begin")
        self._fill(_HEAD.size + length)
        body = bytes(memoryview(self._buffer)[_HEAD.size : _HEAD.size + length])
        del self._buffer[: _HEAD.size + length]
        return Message(_KINDS[kind], number, body)

    def skip_magic(self) -> bytes:
        """Read up to and over ``MAGIC``; returns what stood before it. Raises ChannelClosed if it doesn't come."""
        before = bytearray()
        while (found := self._buffer.find(MAGIC)) < 0:
            sure = max(len(self._buffer) - len(MAGIC) + 1, 0)
            before += self._buffer[:sure]
            del self._buffer[:sure]
            if len(before) > _READ_BYTES:
                del before[:-_READ_BYTES]
                self._idle()  # what prints for ever never waits
            self._read()
        before += self._buffer[:found]
        del self._buffer[: found + len(MAGIC)]
        return bytes(before)

    def _fill(self, size: int) -> None:
        while len(self._buffer) < size:
            self._read()

    def _read(self) -> None:
        self._wait(self._incoming, select.POLLIN)
        data = os.read(self._incoming, _READ_BYTES)
        if not data:
            raise ChannelClosed
        self._buffer += data

    def _wait(self, descriptor: int, event: int) -> None:
        poller = select.poll()
        poller.register(descriptor, event)
        while not poller.poll(_IDLE_MILLISECONDS):
            self._idle()


def frame_body(frame: pl.DataFrame) -> bytes:
    """A frame as an Arrow IPC stream."""
    stream = io.BytesIO()
    frame.write_ipc_stream(stream)
    return stream.getvalue()


def frame_of(body: bytes) -> pl.DataFrame:
    """The frame of an Arrow IPC stream. Raises GarbledError for anything else."""
    try:
        return pl.read_ipc_stream(io.BytesIO(body))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise GarbledError(f"{len(body)} bytes that are no frame: {error}") from error
