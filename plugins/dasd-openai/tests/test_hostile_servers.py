"""Servers that answer twice, without end, from elsewhere, or with the key: whose answer is whose, and what is shown."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable
from typing import Any

import pytest
from benchmarks.loopback import Answers, Loopback, http
from openai_asking import sampled
from openai_wire import SECRET, asked

from dasd.api import BackendError, Teacher
from dasd_openai.key import Key

Open = Callable[..., Teacher]
pytestmark = pytest.mark.usefixtures("only_key")


# -- whose answer it is -----------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
def test_a_second_answer_is_not_taken_for_the_next_requests(packed: bool) -> None:
    def answer(number: int) -> bytes:
        raw = b'{"to": %d}' % number
        return http(gzip.compress(raw), Content_Encoding="gzip") if packed else http(raw)

    wire, told = asked(answer(1) + answer(99), answer(2), answer(3), answer(4), times=3)
    assert told == ["{'to': 2}", "{'to': 3}", "{'to': 4}"] and len(wire.heads) == 4


def test_more_than_the_length_says_is_told() -> None:
    _, (told,) = asked(http(b'{"to": 1}rest', Content_Length="9"))
    assert "failed 2 times, the last time with a malformed answer (at least 4 bytes behind its end)" in told


def test_a_line_break_behind_an_answer_does_no_harm() -> None:
    _, told = asked(http(b'{"to": 1}') + b"\r\n", times=2)
    assert told == ["{'to': 1}"] * 2


# -- what is no answer ------------------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\n"
BROKEN = {
    "100,000 headers": (
        HEAD + b"".join(b"a%d: b\r\n" % n for n in range(100_000)) + b"\r\n{}",
        "what is no HTTP",
    ),
    "a header of 8 MB": (HEAD + b"a: " + b"x" * 2**23, "what is no HTTP"),
    "a status line of 1 MB": (b"HTTP/1.1 200 " + b"x" * 2**20, "what is no HTTP"),
    "a negative length": (HEAD + b"Content-Length: -2\r\n\r\n{}", "what is no HTTP"),
    "two lengths": (HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "what is no HTTP"),
    "a chunk longer than it says": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
        "no HTTP",
    ),
    "a chunk of 16^30 bytes": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 30 + b"\r\n{}",
        "no HTTP",
    ),
    "a change of protocol": (b"HTTP/1.1 101 Other\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "no HTTP"),
    "UTF-16": (http('{"a": 1}'.encode("utf-16")), "Invalid JSON"),
    "a NUL": (http(b'{"a": "\0"}'), "Invalid JSON"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_what_is_no_answer_is_asked_for_again_then_told(fault: str) -> None:
    answer, reason = BROKEN[fault]
    wire, (told,) = asked(answer)
    assert "failed 2 times" in told and reason in told and len(wire.heads) == 2


@pytest.mark.parametrize("repeated", [b"HTTP/1.1 100 Continue\r\n\r\n" * 999, b"HTTP/1.1 102 Wait\r\n\r\n"])
def test_interim_answers_without_end_are_cut_at_the_time_out(repeated: bytes) -> None:
    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                writer.write(repeated)
                await writer.drain()
                await asyncio.sleep(0)
        except OSError:
            pass
        finally:
            writer.close()

    _, (told,) = asked(raw=endless, timeout=0.2, retries=0)
    assert "no answer within 0.2 s" in told


# -- where the key goes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "to"),
    [
        *((status, "http://127.0.0.1:9/v1") for status in (301, 302, 303, 307, 308)),
        *((302, to) for to in ("file:///etc/passwd", "/v1/x", "https://me@[x")),
    ],
)
def test_a_redirection_is_followed_nowhere(status: int, to: str) -> None:
    wire, (told,) = asked(http(b"", status, Location=to))
    assert f"a redirection to {to}. Nothing was sent there; set teacher.options.base_url" in told
    assert len(wire.heads) == 1


# -- where the key stands ---------------------------------------------------------------------------

ECHOES = {
    "as it is": http({"error": {"message": f"wrong {SECRET}"}}, 400),
    "in an address": http(b"", 302, Location="http://x/?k=sk-test%2FOnly%2B0123456789%3D%3D"),
    "in JSON that is none": http(b'{"wrong": "sk-test\\/Only+0123456789=="', 400),
    "in small letters": http(SECRET.lower().encode(), 400),
    "as a compression": http(b"{}", Content_Encoding=SECRET),
    "behind much else": http(b"{}", Content_Encoding="x" * 30 + SECRET),
    "as a status line": f"HTTP/1.1 4x0 {SECRET}\r\n\r\n".encode(),
}


@pytest.mark.parametrize("echo", ECHOES)
def test_a_key_that_comes_back_is_not_shown(echo: str) -> None:
    _, (told,) = asked(ECHOES[echo])
    assert "[key]" in told and "only" not in told.lower() and "0123" not in told


def test_a_short_key_is_no_part_of_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "EMPTY")
    assert Key("OPENAI_API_KEY").hidden_in_name("empty-7b") == "empty-7b"
    assert Key("OPENAI_API_KEY").hidden("the key EMPTY") == "the key [key]"


@pytest.mark.parametrize("place", ["id", "system_fingerprint", "version"])
def test_a_key_among_a_servers_names_is_not_kept(place: str, open_teacher: Open, key: str) -> None:
    answers = Answers()

    async def handle(path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        answer = answers.to(path, body)
        for holder in (answer, *answer.get("data", ())):
            holder.update({place: f"of {key}"} if place in holder and holder.get("object") != "list" else {})
        writer.write(http(answer))

    with Loopback(handle) as server:
        info = open_teacher(server.url).info
    assert "[key]" in info.model_revision + info.engine_version
    assert key not in info.model_revision + info.engine_version


def test_a_key_as_a_stop_string_is_not_shown(open_teacher: Open, key: str) -> None:
    answers = Answers()
    spoilt: list[str] = []

    async def handle(path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        answer = answers.to(path, body)
        for choice in answer.get("choices", ()):
            choice.update(dict.fromkeys(spoilt, "x" * 70 + key))
        writer.write(http(answer))

    with Loopback(handle) as server:
        teacher = open_teacher(server.url)
        spoilt.append("stop_reason")
        with pytest.raises(BackendError, match=r"stop string out of the server's defaults: 'x+\[key\]'"):
            sampled(teacher, count=1)
