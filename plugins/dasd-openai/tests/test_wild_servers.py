"""Loopback servers that answer badly, or not: what is asked again, for how long, and what is told at the end."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import resource
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from benchmarks.loopback import Answers, Loopback, http, reset
from openai_asking import WARM, requests, rows, sampled

from dasd.api import BackendError, InputError, ScoreRequest, ScoringSpec, Teacher
from dasd_openai.answers import About
from dasd_openai.options import OpenAIOptions
from dasd_openai.transport import Transport

Open = Callable[..., Teacher]
YEAR = str(365 * 24 * 3600)
Spoil = Callable[[dict[str, Any]], object]
ANSWERS = Answers()


class Server:
    """Answers well until ``wire`` holds what every request for a response is answered with instead."""

    def __init__(self) -> None:
        self.answers = ANSWERS
        self.wire: list[bytes] = []
        self.asked = 0
        self.written = 0
        self.ending = "whole"

    async def handle(self, path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        if not self.wire or not body:
            writer.write(http(self.answers.to(path, body)))
            return
        writer.write(self.wire[(self.asked - 1) % len(self.wire)])
        if self.ending == "endless":
            while not writer.is_closing():
                writer.write(b"[" * 2**16)
                self.written += 2**16
                await writer.drain()
        elif self.ending == "hanging":
            await writer.drain()
            await asyncio.Event().wait()
        elif self.ending == "closed":
            writer.close()
        elif self.ending == "reset":
            reset(writer)

    def spoil(self, change: Spoil, path: str = "/v1/completions") -> None:
        """Answer with a right answer after ``change``."""
        answer = self.answers.to(path, {"prompt": [1], "max_tokens": 48})
        change(answer)
        self.wire = [http(answer)]


@pytest.fixture
def wild() -> Server:
    return Server()


@pytest.fixture
def url(wild: Server) -> Iterator[str]:
    with Loopback(wild.handle) as loopback:
        yield loopback.url


@pytest.fixture
def teacher(url: str, open_teacher: Open) -> Teacher:
    return open_teacher(url, retries=1, backoff=0.01)


def choice(change: Callable[[dict[str, Any]], object]) -> Spoil:
    return lambda answer: change(answer["choices"][0])


def a_logprob(value: object) -> Spoil:
    return choice(lambda found: found["logprobs"]["token_logprobs"].__setitem__(0, value))


def a_token(value: object) -> Spoil:
    return choice(lambda found: found["token_ids"].__setitem__(0, value))


DEEP: Any = 0
for _ in range(300):
    DEEP = [DEEP]

MALFORMED: dict[str, tuple[Spoil, str]] = {
    "logprob of 400 digits": (a_logprob(-(10**400)), "finite number"),
    "NaN": (a_logprob(float("nan")), "finite number"),
    "infinity": (a_logprob(float("-inf")), "finite number"),
    "a logprob above 0": (a_logprob(5.0), "less than or equal"),
    "a logprob below float32": (a_logprob(-1e300), "greater than or equal"),
    "no logprob": (a_logprob(None), "1 of 23 log-probabilities are missing"),
    "a logprob as a text": (a_logprob("-0.5"), "valid number"),
    "token -1": (a_token(-1), "greater than or equal to 0"),
    "token 10^12": (a_token(10**12), "less than 2147483648"),
    "a token that no tokenizer has": (a_token(10**6), "token 1000000; the tokenizer has"),
    "a token of 400 digits": (a_token(10**400), "less than 2147483648"),
    "a lone surrogate": (choice(lambda found: found.update(text="So \ud800")), "Invalid JSON"),
    "nested too deeply": (lambda answer: answer.update(more=DEEP), "recursion limit"),
    "two choices": (lambda answer: answer["choices"].append(answer["choices"][0]), "got 2"),
    "a choice that is a number": (lambda answer: answer.update(choices=[5]), "choices.0: .*object"),
    "choices that are a text": (lambda answer: answer.update(choices="So"), "choices: .*array"),
    "a usage that is a list": (lambda answer: answer.update(usage=[1]), "usage: .*object"),
    "a negative usage": (lambda answer: answer.update(usage={"prompt_tokens": -5}), "usage.prompt_tokens"),
    "a token too many": (choice(lambda found: found["token_ids"].append(5)), "24 token_ids and 23 log-prob"),
    "a log-probability too many": (
        choice(lambda found: found["logprobs"]["token_logprobs"].append(-1)),
        "23 tokens and 24 log-probabilities",
    ),
    "more tokens than asked for": (
        choice(lambda found: found.update(token_ids=[5] * 49, logprobs=None)),
        "49 tokens; asked for at most 48",
    ),
    "an end without its token": (
        choice(lambda found: found.update(token_ids=[], logprobs=None)),
        "without the token that ended it",
    ),
    "logprobs that are a number": (choice(lambda found: found.update(logprobs=7)), "logprobs: .*object"),
    "a finish_reason that is a list": (choice(lambda found: found.update(finish_reason=[])), "valid string"),
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_an_answer_of_the_wrong_kind_is_asked_for_again_then_told(
    fault: str, wild: Server, url: str, teacher: Teacher
) -> None:
    change, reason = MALFORMED[fault]
    wild.spoil(change)
    asked = wild.asked
    with pytest.raises(BackendError, match=rf"sample sample-0: {url}/completions failed 2 times.*{reason}"):
        sampled(teacher, count=1)
    assert wild.asked == asked + 2


WIRE = {
    "no text": (http(b"\xff\xfe\x00"), "Invalid JSON"),
    "a page": (http(b"<html>welcome</html>"), "Invalid JSON"),
    "a number": (http(b"5"), "an object"),
    "nothing": (http(b""), "Invalid JSON"),
    "a status alone": (http(b"", 204), "Invalid JSON"),
    "100,000 brackets": (http(b"[" * 100_000), "recursion limit"),
    "a number of 5,000 digits": (http(b'{"more": ' + b"9" * 5000 + b"}"), "out of range"),
    "a chunk without length": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
        "what is no HTTP",
    ),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "what is no HTTP"),
    "no gzip": (http(b"{}", Content_Encoding="gzip"), "can't be decompressed"),
    "half a gzip": (http(gzip.compress(b"{}" * 99)[:-9], Content_Encoding="gzip"), "compressed, and cut off"),
    "br": (http(b"{}", Content_Encoding="br"), "compressed as 'br'"),
    "a gzip bomb": (
        http(gzip.compress(b" " * 100_000_000, 9), Content_Encoding="gzip"),
        r"longer than \d+ bytes",
    ),
}


@pytest.mark.parametrize("fault", WIRE)
def test_bytes_that_are_no_answer_are_asked_for_again_then_told(
    fault: str, wild: Server, teacher: Teacher
) -> None:
    wire, reason = WIRE[fault]
    wild.wire = [wire]
    with pytest.raises(BackendError, match=rf"sample sample-0: .*failed 2 times.*{reason}"):
        sampled(teacher, count=1)


def test_a_compressed_answer_is_taken(wild: Server, teacher: Teacher) -> None:
    answer = wild.answers.to("/v1/completions", {"prompt": [1], "max_tokens": 48})
    wild.wire = [http(gzip.compress(json.dumps(answer).encode()), Content_Encoding="gzip")]
    assert sampled(teacher, count=1)["finish_reason"].to_list() == ["stop"]


@pytest.mark.parametrize("status", [200, 500])
def test_an_endless_answer_is_cut(status: int, wild: Server, teacher: Teacher) -> None:
    wild.wire = [f"HTTP/1.1 {status} OK\r\nConnection: close\r\n\r\n".encode()]
    wild.ending = "endless"
    with pytest.raises(BackendError, match=r"failed 2 times.*longer than \d+ bytes"):
        sampled(teacher, count=1)
    assert wild.written < 2 * 2**24  # what lies in the system's buffers included


def test_an_answer_that_drips_ends_after_the_patience(wild: Server, url: str, open_teacher: Open) -> None:
    teacher = open_teacher(url, retries=1, backoff=0.01, patience=0.2, connect_timeout=0.2)
    wild.wire = [b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"']
    wild.ending = "hanging"
    with pytest.raises(BackendError, match=r"failed 2 times.*began and did not end in time \(0\.2 s\)"):
        sampled(teacher, count=1)


@pytest.mark.parametrize(
    "path", ["prompt_logprobs", "logprobs"], ids=["prompt_logprobs of a kind", "too few of them"]
)
def test_a_malformed_score_is_told_with_the_samples_name(path: str, wild: Server, teacher: Teacher) -> None:
    found = [None, 5] if path == "prompt_logprobs" else [None]
    wild.spoil(choice(lambda each: each.update(prompt_logprobs=found)))
    asked = [ScoreRequest("s", requests(1)[0].messages, "So", ended=False)]
    with pytest.raises(BackendError, match=r"sample s: .*failed 2 times.*prompt_logprobs"):
        rows(teacher.score(asked, ScoringSpec("test", 100)))


LISTS = {
    "a number": {"data": 5},
    "numbers": {"data": [5]},
    "a name that is none": {"data": [{"id": 5}]},
    "a list": [],
}


@pytest.mark.parametrize("fault", LISTS)
def test_a_wrong_list_of_models_is_told(fault: str, open_teacher: Open) -> None:
    async def handle(_path: str, _body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        writer.write(http(LISTS[fault]))

    with (
        Loopback(handle) as server,
        pytest.raises(BackendError, match=r"list of models: http.*failed 2 times.*malformed"),
    ):
        open_teacher(server.url, retries=1, backoff=0.01)


UGLY = "\x1b[2J\x00\u202eevil\x9b\u2028" + "x" * 5000


@pytest.mark.parametrize(
    "told", [{"error": {"message": UGLY}}, {"detail": UGLY}, {"error": {UGLY: 1}}, UGLY.encode()]
)
def test_a_servers_words_are_shown_without_control_characters(
    told: Any, wild: Server, teacher: Teacher
) -> None:
    wild.wire = [http(told, 400)]
    with pytest.raises(BackendError) as caught:
        sampled(teacher, count=1)
    message = str(caught.value)
    assert message.isprintable() and "evil" in message and len(message) < 1500


def test_a_servers_names_are_kept_without_control_characters(open_teacher: Open, wild: Server) -> None:
    async def handle(path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        answer = wild.answers.to(path, body)
        answer.update({key: UGLY for key in ("system_fingerprint", "version") if key in answer})
        writer.write(http(answer))

    with Loopback(handle) as server:
        info = open_teacher(server.url).info
    assert info.model_revision.isprintable() and info.engine_version.isprintable()
    assert "evil" in info.model_revision and "evil" in info.engine_version


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("wait", [YEAR, "inf", "9" * 40, "Wed, 01 Jan 9999 00:00:00 GMT"])
def test_a_wait_beyond_the_patience_is_told_at_once(
    status: int, wait: str, wild: Server, url: str, open_teacher: Open
) -> None:
    teacher = open_teacher(url, patience=5)
    wild.wire = [http(b"come later", status, Retry_After=wait)]
    asked = wild.asked
    message = (
        rf"sample sample-0: {url}.*come later; [\d.e+inf]+ s to wait.*teacher\.options\.patience \(5 s\)"
    )
    with pytest.raises(BackendError, match=message):
        sampled(teacher, count=1)
    assert wild.asked == asked + 1


@pytest.mark.parametrize("ending", ["closed", "reset", "whole"])
def test_a_server_that_is_busy_and_away_in_turn_ends_after_the_patience(
    ending: str, wild: Server, url: str, open_teacher: Open
) -> None:
    """Neither of the two starts the patience anew."""
    teacher = open_teacher(url, patience=0.3, backoff=0.05, retries=1000)
    wild.wire = [http(b"", 429, Retry_After="0"), http(b"", 503) if ending == "whole" else b""]
    wild.ending = ending
    begun = time.monotonic()
    with pytest.raises(BackendError, match=r"could not be reached|allows no more requests"):
        sampled(teacher, count=1)
    assert time.monotonic() - begun < 5


class _Until(logging.Handler):
    def __init__(self, found: asyncio.Event) -> None:
        super().__init__()
        self.found = found
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        if "waiting 3" in self.lines[-1]:
            self.found.set()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_long_wait_is_told_with_the_servers_name(status: int, wild: Server, url: str) -> None:
    wild.wire = [http(b"come later", status, Retry_After="30")]

    async def ask() -> list[str]:
        told = _Until(asyncio.Event())
        logging.getLogger("dasd_openai").addHandler(told)
        transport = Transport(OpenAIOptions(), 4, url)
        body = {"prompt": [1], "max_tokens": 1}
        asking = [
            asyncio.create_task(transport.ask("sample s", "/completions", body, About, str)) for _ in range(4)
        ]
        try:
            await asyncio.wait_for(told.found.wait(), 20)
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
            await transport.close()
            logging.getLogger("dasd_openai").removeHandler(told)
        return [line for line in told.lines if "waiting 3" in line]

    (line,) = asyncio.run(ask())  # one for all four
    assert line.startswith(f"{url}: status {status}: come later; waiting 3")


def test_more_connections_than_open_files_are_refused(url: str, open_teacher: Open) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        with pytest.raises(InputError, match=r"concurrency .*: 500 requests .*may have 512; .*ulimit -n"):
            open_teacher(url, concurrency=500)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_all_that_is_right_is_taken(wild: Server, teacher: Teacher) -> None:
    found = sampled(teacher, WARM, 16)
    assert found.height == 16 and wild.asked >= 16
    assert found["token_ids"].list.len().equals(found["logprobs"].list.len())
