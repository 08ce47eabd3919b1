"""A real HTTP server on this machine that answers as an OpenAI-compatible one does, or as badly as it is told to."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
from collections.abc import Awaitable, Callable
from threading import Thread
from typing import Any

from dasd.api import ChatTokenizer, ModelSettings

Handle = Callable[[str, dict[str, Any], asyncio.StreamWriter], Awaitable[None]]
"""Gets a request's path and body ({} for GET) and writes what comes back. Closing the writer ends the connection."""
TEXT = "So 9 + 3 = 12, and 12 - 4 = 8. The answer is 8. "


class Loopback:
    """Serves while it is entered, in a thread of its own."""

    def __init__(self, handle: Handle, port: int = 0) -> None:
        """``port``: 0 takes a free one."""
        self.handle = handle
        self.port = port
        self.url = ""
        self.running = False
        self._connections: set[asyncio.Task[None]] = set()  # the loop's own references are weak

    def __enter__(self) -> Loopback:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._connection, "127.0.0.1", self.port, backlog=4096))
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.running = True
        return self

    def __exit__(self, *_: object) -> None:
        self.running = False
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _stop(self) -> None:
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        try:
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = next(
                    (
                        int(line[15:])
                        for line in head.split("\r\n")
                        if line.lower().startswith("content-length")
                    ),
                    0,
                )
                body = json.loads(await reader.readexactly(length)) if length else {}
                await self.handle(head.split()[1], body, writer)
                if not writer.is_closing():
                    await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, OSError):
            pass  # the client went away, or the server stops
        finally:
            writer.close()


def http(body: bytes | object, status: int = 200, **headers: str) -> bytes:
    """An answer on the wire; an object goes as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {"Content-Length": str(len(raw)), **{k.replace("_", "-"): v for k, v in headers.items()}}
    lines = [f"HTTP/1.1 {status} Told", *(f"{name}: {value}" for name, value in named.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + raw


def reset(writer: asyncio.StreamWriter) -> None:
    """Break the connection off, as a server that dies does."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def logprobs_of(seed: int, count: int) -> list[float]:
    """What a request with this seed is answered: no other has the same."""
    drawn = random.Random(seed)
    return [-drawn.random() for _ in range(count)]


class Answers:
    """Right answers in vLLM's form, as the tokenizer of a miniature model has them; all of one text."""

    def __init__(self, model: str = "dasd:mini-teacher") -> None:
        self._tokenizer = ChatTokenizer.load(ModelSettings(model=model))
        self._ids, ends = self._tokenizer.encode_response(TEXT, ended=True)
        raw = TEXT.encode()
        self._pieces = [raw[a:b].decode() for a, b in zip([0, *ends], ends, strict=False)]

    def to(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """What comes back to ``body`` at ``path``."""
        if path.endswith("/models"):
            return {"object": "list", "data": [{"id": "mini", "owned_by": "vllm", "max_model_len": 512}]}
        if not body:
            return {"version": "0.32.0"}
        count = min(int(body["max_tokens"]), len(self._ids))
        tokens, logprobs = self._pieces[:count], logprobs_of(body.get("seed", 0), count)
        choice: dict[str, Any] = {
            "index": 0,
            "finish_reason": "stop" if count == len(self._ids) else "length",
            "stop_reason": None,
            "token_ids": self._ids[:count],
        }
        if path.endswith("/chat/completions"):
            likely = [{"token": "So", "logprob": -0.25}, {"token": "It", "logprob": -2.0}]
            choice["message"] = {"role": "assistant", "content": "".join(tokens), "tool_calls": []}
            choice["logprobs"] = {
                "content": [
                    {"token": t, "logprob": p, "bytes": list(t.encode()), "top_logprobs": likely}
                    for t, p in zip(tokens, logprobs, strict=True)
                ]
            }
        else:
            choice["text"] = "".join(tokens)
            choice["logprobs"] = {
                "tokens": tokens,
                "token_logprobs": logprobs,
                "top_logprobs": [{"So": -0.25, "It": -2.0} for _ in tokens],
                "text_offset": [0 for _ in tokens],
            }
            prompt = body["prompt"]
            if "prompt_logprobs" in body:
                found = [{str(token): {"logprob": -1.5, "rank": 1, "decoded_token": "?"}} for token in prompt]
                choice["prompt_logprobs"] = [None, *found[1:]]
            if body.get("echo"):
                choice["logprobs"]["token_logprobs"] = [None, *(-1.5 for _ in prompt[1:]), *logprobs]
                choice["logprobs"]["tokens"] = ["?" for _ in prompt] + tokens
        prompt_tokens = len(body.get("prompt", ""))
        return {
            "id": "cmpl-1",
            "model": "mini",
            "system_fingerprint": "vllm-0.32.0",
            "choices": [choice],
            "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": count},
        }
