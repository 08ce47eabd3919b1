"""Several real servers of one model on this machine: who is asked, who is left out, and who is taken in again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from benchmarks.loopback import Answers, Loopback, http, logprobs_of, reset
from openai_asking import WARM, requests, rows
from pydantic import ValidationError

from dasd.api import BackendError, InputError, Teacher
from dasd_openai.options import OpenAIOptions

Open = Callable[..., Teacher]
EACH = 4
"""Requests at a time for each server."""


class Replica:
    """One server. It answers at once, or as ``behave`` says what ``spoils`` takes: requests for samples, if no test
    says otherwise."""

    def __init__(self) -> None:
        self.answers = Answers()
        self.asked: list[int] = []
        """Seeds of the requests for samples."""
        self.given = 0
        self.at_once = self.most_at_once = 0
        self.behave: Callable[[asyncio.StreamWriter], Any] | None = None
        self.spoils: Callable[[dict[str, Any]], bool] = lambda body: body.get("seed", 0) > 0
        self.change: Callable[[dict[str, Any]], None] = lambda _: None
        self.on_given: Callable[[int], None] = lambda _: None
        self.loopback = Loopback(self.handle)

    @property
    def url(self) -> str:
        return self.loopback.url

    def start(self) -> str:
        """Listen, at the same port each time."""
        self.loopback = Loopback(self.handle, self.loopback.port)
        return self.loopback.__enter__().url

    def kill(self) -> None:
        """All its connections break, and new ones are refused."""
        self.loopback.__exit__()

    async def handle(self, path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        sample = body.get("seed", 0) > 0  # else one of those by which it is found out what the server is
        if sample:
            self.asked.append(body["seed"])
        if self.behave and self.spoils(body):
            self.at_once += 1
            self.most_at_once = max(self.at_once, self.most_at_once)
            try:
                if await self.behave(writer):
                    return
            finally:
                self.at_once -= 1
        answer = self.answers.to(path, body)
        self.change(answer)
        writer.write(http(answer))
        if sample:
            self.given += 1
            self.on_given(self.given)


def until(gate: Future[None]) -> Callable[[asyncio.StreamWriter], Any]:
    """Answers when the gate has opened."""

    async def wait(_: asyncio.StreamWriter) -> None:
        await asyncio.shield(asyncio.wrap_future(gate))

    return wait


def answered(wire: bytes | None) -> Callable[[asyncio.StreamWriter], Any]:
    """Answers with this; None: breaks the connection off."""

    async def write(writer: asyncio.StreamWriter) -> bool:
        if wire is None:
            reset(writer)
        else:
            writer.write(wire)
        return True

    return write


@pytest.fixture
def pair() -> Iterator[tuple[Replica, Replica]]:
    servers = Replica(), Replica()
    for server in servers:
        server.start()
    yield servers
    for server in servers:
        if server.loopback.running:
            server.kill()


def opened(pair: tuple[Replica, Replica], open_teacher: Open, **options: Any) -> Teacher:
    """Both, one place after the other."""
    return open_teacher([each.url for each in pair], concurrency=EACH, **options)


def check(found: pl.DataFrame, count: int) -> None:
    """Each request has its own answer, once."""
    wanted = {request.sample_id: request.seed for request in requests(count)}
    assert sorted(found["sample_id"]) == sorted(wanted)
    for sample_id, given in found.select("sample_id", "logprobs").iter_rows():
        assert given == pytest.approx(logprobs_of(wanted[sample_id], len(given)))


def test_requests_go_where_there_is_most_room(pair: tuple[Replica, Replica], open_teacher: Open) -> None:
    slow, quick = pair
    gate: Future[None] = Future()
    slow.behave = until(gate)
    quick.on_given = lambda given: gate.set_result(None) if given == 20 else None
    teacher = opened(pair, open_teacher)
    assert teacher.info.concurrency == 2 * EACH
    check(rows(teacher.sample(requests(24), WARM)), 24)
    assert (len(slow.asked), len(quick.asked)) == (EACH, 20)
    assert slow.most_at_once == EACH


def test_equal_servers_share_the_work(pair: tuple[Replica, Replica], open_teacher: Open) -> None:
    teacher = opened(pair, open_teacher)
    check(rows(teacher.sample(requests(2 * EACH), WARM)), 2 * EACH)
    assert [len(each.asked) for each in pair] == [EACH, EACH]


def test_a_server_killed_in_the_middle_costs_nothing_and_comes_back(
    pair: tuple[Replica, Replica], open_teacher: Open, caplog: pytest.LogCaptureFixture
) -> None:
    dying, steady = pair
    dying.behave = until(Future())  # it has four when it dies
    back: Future[None] = Future()
    teacher = opened(pair, open_teacher)
    found = []
    for frame in teacher.sample(requests(64), WARM):
        found.append(frame)
        if dying.loopback.running and dying.behave:
            dying.kill()
            had = len(dying.asked)
            # From its tenth answer on the other one waits until this one has answered something.
            steady.on_given = lambda given: setattr(steady, "behave", until(back)) if given >= 10 else None
        elif steady.behave and dying.behave:
            dying.behave = None
            dying.on_given = lambda given: back.set_result(None) if given == 1 else None
            dying.start()
    check(pl.concat(found), 64)
    assert 0 < had <= EACH < len(dying.asked)
    assert set(dying.asked[:had]) <= {*steady.asked, *dying.asked[had:]}
    told = [text for text in caplog.messages if dying.url in text]
    assert "is left out until it answers" in told[0] and "the others are asked" in told[0]
    assert told[-1] == f"{dying.url} answers, and is asked from now on"
    assert not [text for text in caplog.messages if steady.url in text]


def test_a_server_that_falls_silent_is_left_out(pair: tuple[Replica, Replica], open_teacher: Open) -> None:
    silent, steady = pair
    teacher = opened(pair, open_teacher, patience=0.2, connect_timeout=0.2)
    silent.behave, silent.spoils = until(Future()), lambda _: True
    check(rows(teacher.sample(requests(24), WARM)), 24)
    assert set(silent.asked) <= set(steady.asked) and len(steady.asked) == 24


@pytest.mark.parametrize("wire", [None, http(b"", 503), http(b"", 500)], ids=["reset", "503", "500"])
def test_a_server_that_fails_alone_takes_no_requests_for_long(
    wire: bytes | None, pair: tuple[Replica, Replica], open_teacher: Open
) -> None:
    """Its list of models is there all the while."""
    failing, steady = pair
    teacher = opened(pair, open_teacher)
    failing.behave, failing.spoils = answered(wire), bool  # GET has no body
    check(rows(teacher.sample(requests(100), WARM)), 100)
    assert len(failing.asked) <= 17 + EACH and len(steady.asked) == 100


def test_a_rate_limit_holds_back_one_server_alone(
    pair: tuple[Replica, Replica], open_teacher: Open, caplog: pytest.LogCaptureFixture
) -> None:
    limited, free = pair
    teacher = opened(pair, open_teacher)
    limited.behave = answered(http(b"come later", 429, Retry_After="50"))
    check(rows(teacher.sample(requests(24), WARM)), 24)
    assert len(limited.asked) <= EACH and len(free.asked) == 24
    assert caplog.messages == [f"{limited.url}: status 429: come later; waiting 50 s"]


def test_a_request_that_all_refuse_costs_no_other(pair: tuple[Replica, Replica], open_teacher: Open) -> None:
    teacher = opened(pair, open_teacher)
    for each in pair:

        async def refuse(writer: asyncio.StreamWriter, server: Replica = each) -> bool:
            if server.asked[-1] != 103:
                return False
            writer.write(http(b"not that one", 400))
            return True

        each.behave = refuse
    told: dict[str, str] = {}
    found = rows(teacher.sample(requests(8), replace(WARM, on_refused=told.__setitem__)))
    assert list(told) == ["sample-3"] and "not that one" in told["sample-3"]
    assert found.height == 7


@pytest.mark.parametrize("both", [True, False])
def test_servers_that_are_all_gone_are_waited_for_and_named(
    both: bool, pair: tuple[Replica, Replica], open_teacher: Open, caplog: pytest.LogCaptureFixture
) -> None:
    teacher = opened(pair, open_teacher, patience=0.3)
    for each in pair:
        each.behave = until(Future())
    asking = teacher.sample(requests(8), WARM)
    pair[0].kill()
    if both:
        pair[1].kill()
        names = ".*".join(each.url for each in pair)
        with pytest.raises(BackendError, match=rf"no server could be asked .*{names}.*patience \(0\.3 s\)"):
            next(asking)
        assert f"none of {pair[0].url}, {pair[1].url} can be reached; waiting up to 0.3 s for one" in (
            caplog.messages
        )
    else:
        pair[1].behave = None
        check(rows(asking), 8)


# -- when they are opened ------------------------------------------------------------------------------


def another_model(answer: dict[str, Any]) -> None:
    for card in answer.get("data", ()):
        card["id"] = "other"


def shorter(answer: dict[str, Any]) -> None:
    for card in answer.get("data", ()):
        card["max_model_len"] = 256


def newer(answer: dict[str, Any]) -> None:
    if "version" in answer:
        answer["version"] = "0.33.0"


def without_logprobs(answer: dict[str, Any]) -> None:
    for choice in answer.get("choices", ()):
        choice["logprobs"] = None


DIFFERENT = {
    "has model 'other' where {} has 'mini'": another_model,
    "has context length 256 where {} has 512": shorter,
    "has version '0.33.0' where {} has '0.32.0'": newer,
    "has log-probabilities 'none' where {} has 'raw'": without_logprobs,
}


@pytest.mark.parametrize("words", DIFFERENT)
def test_a_server_that_is_not_like_the_others_is_named(
    words: str, pair: tuple[Replica, Replica], open_teacher: Open
) -> None:
    pair[1].change = DIFFERENT[words]
    with pytest.raises(InputError) as caught:
        opened(pair, open_teacher)
    assert f"base_url: {pair[1].url} {words.format(pair[0].url)}; name servers of one" in str(caught.value)


def test_a_server_with_another_tokenizer_is_named(pair: tuple[Replica, Replica], open_teacher: Open) -> None:
    def backwards(answer: dict[str, Any]) -> None:
        for choice in answer.get("choices", ()):
            choice["token_ids"].reverse()

    pair[1].change = backwards
    with pytest.raises(InputError, match=rf"its tokenizer isn't that of .* of {pair[1].url}"):
        opened(pair, open_teacher)


def test_a_server_that_is_away_at_first_is_taken_in_when_it_comes(
    pair: tuple[Replica, Replica], open_teacher: Open, caplog: pytest.LogCaptureFixture
) -> None:
    here, late = pair
    late.kill()
    teacher = opened(pair, open_teacher)
    (told,) = caplog.messages
    assert told.startswith(f"{late.url} is left out until it answers (ConnectError")
    came: Future[None] = Future()
    here.behave = until(came)
    late.on_given = lambda given: came.set_result(None) if given == 1 else None
    late.start()
    check(rows(teacher.sample(requests(8), WARM)), 8)
    assert late.given


def test_a_server_that_comes_back_with_another_model_stays_out(
    pair: tuple[Replica, Replica], open_teacher: Open, caplog: pytest.LogCaptureFixture
) -> None:
    here, changed = pair
    changed.kill()
    teacher = opened(pair, open_teacher)
    tried: Future[None] = Future()

    def other(answer: dict[str, Any]) -> None:
        another_model(answer)
        # The second look begins when the first has been told of.
        if any("nonetheless" in text for text in caplog.messages) and not tried.done():
            tried.set_result(None)

    changed.change = other
    changed.start()
    here.behave = until(tried)
    check(rows(teacher.sample(requests(8), WARM)), 8)
    assert not changed.asked
    (told,) = [text for text in caplog.messages if "nonetheless" in text]
    assert told.startswith(changed.url) and "has model 'other' where the others have 'mini'" in told


def test_servers_that_are_all_away_at_first_are_named(open_teacher: Open) -> None:
    urls = ["http://127.0.0.1:9/v1", "http://127.0.0.1:19/v1"]
    with pytest.raises(BackendError, match=rf"list of models: no server .*{urls[0]}.*{urls[1]}"):
        open_teacher(urls, patience=0.1)


def test_lists_that_are_refused() -> None:
    for addresses, words in (
        (["http://a/v1", "http://a/v1/"], "names a server twice"),
        (["http://a/v1", "b"], "wanted an address"),
        ([], "at least 1 item"),
    ):
        with pytest.raises(ValidationError, match=words):
            OpenAIOptions(base_url=addresses)  # type: ignore[arg-type]
    assert OpenAIOptions(base_url=["http://a/v1", "http://b/v1/"]).addresses == ("http://a/v1", "http://b/v1")  # type: ignore[arg-type]
