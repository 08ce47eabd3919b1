"""What a replica hands back: frames in pieces of bounded size, refusals, and what it wants next."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import polars as pl

from dasd.api import ContinueRequest, ModelInfo, SampleRequest, ScoreRequest

__all__ = ["MOST_BYTES", "Item", "Kind", "Opened", "Refused", "Request", "frame_of", "pieces"]

Request = SampleRequest | ContinueRequest | ScoreRequest
Kind = Literal["sample", "continue_", "score"]
"""Method of a teacher."""

MOST_BYTES = 4 * 2**20
"""Of the frames that a replica hands back at a time, unless one row is larger."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that the engine refuses: what ``on_refused`` of its spec is told."""

    sample_id: str
    reason: str


Item = bytes | Refused | Literal["hungry", "end"]
"""A frame as an Arrow IPC stream, a refusal; ``hungry``: there is room for more requests; ``end`` of the call."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What a replica says of itself once its engine is open."""

    info: ModelInfo
    node: str
    """Ray's id of its node."""
    host: str
    """The node's address."""
    pid: int
    dasd: str
    """dasd's version there."""


def pieces(frame: pl.DataFrame) -> Iterator[bytes]:
    """The frame as Arrow IPC streams of about ``MOST_BYTES`` at most."""
    parts = -(-int(frame.estimated_size()) // MOST_BYTES)
    for piece in frame.iter_slices(max(1, frame.height // max(1, parts))):
        stream = io.BytesIO()
        piece.write_ipc_stream(stream)
        yield stream.getvalue()


def frame_of(piece: bytes) -> pl.DataFrame:
    """The frame of a piece."""
    return pl.read_ipc_stream(io.BytesIO(piece))
