"""An HTTP proxy in front of a real server: it passes on what it gets, less what the plan spoils."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

Plan = Callable[[str, int], str | None]
"""From a request's digest, and how often it has come before, to a fault; None: passed on."""
Rewrite = Callable[[str, dict[str, Any]], dict[str, Any] | None]
"""From a path and the server's answer to what is answered; None: status 404."""
Ask = Callable[[str, dict[str, Any]], dict[str, Any]]


def never(_digest: str, _times: int) -> None:
    return None


def first_time(fault: str) -> Plan:
    """Spoils every request when it comes for the first time."""
    return lambda _, times: fault if times == 0 else None


def always(fault: str) -> Plan:
    return lambda _digest, _times: fault


@dataclass
class Proxy:
    """Serves while it is entered. Faults hit generation requests alone, not the list of models."""

    upstream: str
    plan: Plan = never
    rewrite: Rewrite | None = None
    retry_after: str = "0.3"
    faults: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    most_at_once: int = 0
    _at_once: int = 0
    _seen: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Proxy:
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = _Quiet(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def fault_for(self, path: str, body: bytes) -> str | None:
        digest = hashlib.blake2b(path.encode() + body, digest_size=8).hexdigest()
        with self._lock:
            self.requests[path] += 1
            if not body:
                return None
            self.bodies.append(json.loads(body))
            times = self._seen[digest]
            self._seen[digest] += 1
            fault = self.plan(digest, times)
            if fault:
                self.faults[fault] += 1
            return fault

    def enter(self, step: int) -> None:
        with self._lock:
            self._at_once += step
            self.most_at_once = max(self.most_at_once, self._at_once)


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, _request: object, _address: object) -> None:
        """A client that went away is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: Proxy

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._pass(b"")

    def do_POST(self) -> None:
        self._pass(self.rfile.read(int(self.headers["Content-Length"])))

    def _pass(self, body: bytes) -> None:
        self.owner.enter(1)
        try:
            fault = self.owner.fault_for(self.path, body)
            if fault is None or fault in _SPOIL:
                status, answer = self._upstream(body)
                if fault is not None and status == 200:
                    answer = _SPOIL[fault](answer)
                self._answer(status, answer)
            else:
                getattr(self, f"_{fault.replace('-', '_')}")(body)
        finally:
            self.owner.enter(-1)

    def _upstream(self, body: bytes) -> tuple[int, bytes]:
        address = urlsplit(self.owner.upstream)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
        try:
            names = ("Authorization", "Content-Type", "Accept")
            headers = {name: self.headers[name] for name in names if self.headers[name]}
            connection.request(self.command, self.path, body or None, headers)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if self.owner.rewrite is not None and response.status == 200:
            found = self.owner.rewrite(self.path, json.loads(answer))
            return (
                (200, json.dumps(found).encode()) if found is not None else (404, b'{"detail":"Not Found"}')
            )
        return response.status, answer

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    # -- faults that need no answer of the server's ------------------------------------------------

    def _busy(self, _body: bytes) -> None:
        self._answer(429, b'{"error":{"message":"slow down"}}', Retry_After=self.owner.retry_after)

    def _limit_used_up(self, _body: bytes) -> None:
        self._answer(
            429,
            b"{}",
            X_RateLimit_Remaining_Requests="0",
            X_RateLimit_Reset_Requests=f"{self.owner.retry_after}s",
        )

    def _no_quota(self, _body: bytes) -> None:
        self._answer(429, b'{"error":{"message":"buy more","code":"insufficient_quota"}}')

    def _broken(self, _body: bytes) -> None:
        self._answer(500, b"Internal Server Error")

    def _bad_gateway(self, _body: bytes) -> None:
        self._answer(502, b"<html>bad gateway</html>")

    def _overloaded(self, _body: bytes) -> None:
        self._answer(503, b"", Retry_After="0")

    def _gateway_timeout(self, _body: bytes) -> None:
        self._answer(504, b"")

    def _bad_request(self, _body: bytes) -> None:
        echoed = {"error": {"message": f"can't take {self.headers['Authorization']}"}}
        self._answer(400, json.dumps(echoed).encode())

    def _unauthorized(self, _body: bytes) -> None:
        echoed = {"error": {"message": f"wrong key {self.headers['Authorization']}"}}
        self._answer(401, json.dumps(echoed).encode())

    def _hang(self, _body: bytes) -> None:
        """Says nothing until the client gives up and closes."""
        self.close_connection = True
        self.connection.recv(1)

    def _reset(self, _body: bytes) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def _cut(self, body: bytes) -> None:
        """Closes in the middle of the server's answer."""
        _, answer = self._upstream(body)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer[: len(answer) // 2])
        self.close_connection = True


def _without_choices(answer: bytes) -> bytes:
    return json.dumps({**json.loads(answer), "choices": []}).encode()


def _without_text(answer: bytes) -> bytes:
    found = json.loads(answer)
    found["choices"][0]["text"] = None
    return json.dumps(found).encode()


def _short_of_a_logprob(answer: bytes) -> bytes:
    found = json.loads(answer)
    found["choices"][0]["logprobs"]["token_logprobs"].pop()
    return json.dumps(found).encode()


_SPOIL: dict[str, Callable[[bytes], bytes]] = {
    "half-a-json": lambda answer: answer[: len(answer) // 2],
    "no-object": lambda _: b"[1, 2]",
    "no-text-at-all": lambda _: b"\xff\xfe\x00",
    "no-choices": _without_choices,
    "no-text": _without_text,
    "a-logprob-short": _short_of_a_logprob,
}
