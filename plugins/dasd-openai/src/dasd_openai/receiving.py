"""A server's body, read no further than what was asked for can be long."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import httpx

from dasd_openai.connections import surplus
from dasd_openai.failures import MalformedError

ENCODINGS = "gzip"
"""What a server may compress answers with."""
_BASE = 2**20
_LIST = 2**24
"""Hosted servers list hundreds of models."""
_TOKEN, _TOP = 2048, 256
"""Of a token, its log-probability, its bytes as numbers and what else stands beside them; of another likely one."""
_SENT = 256
"""For each byte that was sent: prompts come back, as ids and with log-probabilities."""


def most_bytes(body: Mapping[str, Any] | None, sent: int) -> int:
    """Length of the longest answer to ``body`` (None: a list), which took ``sent`` bytes."""
    if body is None:
        return _LIST
    tops = max(int(body.get("logprobs") or 0), int(body.get("top_logprobs") or 0))
    return _BASE + _SENT * sent + int(body["max_tokens"]) * (_TOKEN + _TOP * tops)


async def receive(response: httpx.Response, most: int) -> bytes:
    """The body, decompressed. Raises MalformedError for one of more than ``most`` bytes, a damaged one, and for what
    comes behind its end."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "", ENCODINGS):
        raise MalformedError(f"compressed as {encoding!r}; asked for {ENCODINGS} or none")
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS) if encoding == ENCODINGS else None
    found, came = bytearray(), 0
    # Not ``aiter_raw``: at the end it hands the connection to the next request, with what came behind the answer.
    assert isinstance(response.stream, httpx.AsyncByteStream)
    async for chunk in response.stream:
        came += len(chunk)
        room = most + 1 - len(found)
        try:
            found += chunk[:room] if unpacker is None else unpacker.decompress(chunk, room)
        except zlib.error as error:
            raise MalformedError(f"it can't be decompressed: {error}") from None
        if len(found) > most or came > most:
            raise MalformedError(f"longer than {most} bytes, which is more than was asked for")
    if more := surplus(response):
        raise MalformedError(f"at least {len(more)} bytes behind its end")
    if unpacker is not None and not unpacker.eof:
        raise MalformedError("compressed, and cut off")
    return bytes(found)
