"""A server on this machine that answers with given bytes, and what a transport's requests to it end with."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from dasd.api import BackendError
from dasd_openai.answers import About
from dasd_openai.options import OpenAIOptions
from dasd_openai.transport import Transport

SECRET = "sk-test/Only+0123456789=="
"""The key of tests that use the fixture ``only_key``."""


class Wire:
    """Answers each request with the next of ``answers``, and the last for ever; ``cut`` closes behind it."""

    def __init__(self, *answers: bytes, cut: bool = False) -> None:
        self.answers = list(answers)
        self.cut = cut
        self.heads: list[bytes] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
                await reader.readexactly(int(length[0].split()[1]) if length else 0)
                self.heads.append(head)
                writer.write(self.answers[min(len(self.heads), len(self.answers)) - 1])
                await writer.drain()
                if self.cut:
                    break
        except (asyncio.IncompleteReadError, asyncio.CancelledError, OSError):
            pass  # the client has gone, or the test
        finally:
            writer.close()


def asked(
    *answers: bytes,
    times: int = 1,
    cut: bool = False,
    address: str = "",
    secure: ssl.SSLContext | None = None,
    raw: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]] | None = None,
    **options: Any,
) -> tuple[Wire, list[str]]:
    """What so many requests, one after another, end with: what the server told, or the error's words.

    ``address``: whom to ask instead, with ``{port}`` of the server.
    """
    wire = Wire(*answers, cut=cut)

    async def ask() -> list[str]:
        server = await asyncio.start_server(raw or wire.serve, "127.0.0.1", 0, ssl=secure)
        port = server.sockets[0].getsockname()[1]
        wire.url = (address or "http://127.0.0.1:{port}/v1").format(port=port)
        told = []
        async with server:
            transport = Transport(
                OpenAIOptions(
                    **{"retries": 1, "backoff": 0.01, "patience": 0.3, "connect_timeout": 5, **options}
                ),
                4,
                wire.url,
            )
            for _ in range(times):
                try:
                    body = {"prompt": [1], "max_tokens": 8}
                    told.append(
                        await transport.ask("sample s", "/x", body, About, lambda it: str(it.model_extra))
                    )
                except BackendError as error:
                    told.append(str(error))
            await transport.close()
        return told

    return wire, asyncio.run(ask())
