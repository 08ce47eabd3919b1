"""The parts that need no server."""

from __future__ import annotations

import asyncio
import pickle
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from dasd.api import BackendError, ChatTokenizer, InputError, ModelSettings, resolve_model
from dasd.pipeline.compatibility import check_recipe
from dasd.pipeline.graph import build_graph
from dasd.pipeline.work.fingerprints import engine_settings
from dasd.plugins.host import PluginHost
from dasd.plugins.recipe import Recipe
from dasd_openai.answers import Reply
from dasd_openai.budget import Budget
from dasd_openai.failures import Kind, asked_wait, duration, exhausted_wait, of_status, pause
from dasd_openai.key import Key
from dasd_openai.loop import Loop
from dasd_openai.options import OpenAIOptions
from dasd_openai.retokenise import generated


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360.0),
        ("20ms", 0.02),
        ("1h2m3.5s", 3723.5),
        ("7", 7.0),
        ("1.5", 1.5),
        ("soon", None),
        ("", None),
    ],
)
def test_durations_of_rate_limits(text: str, seconds: float | None) -> None:
    assert duration(text) == (None if seconds is None else pytest.approx(seconds))


def test_waits_that_servers_ask_for() -> None:
    assert asked_wait(httpx.Headers({"Retry-After": "2.5"})) == 2.5
    assert asked_wait(httpx.Headers({"Retry-After-Ms": "300", "Retry-After": "9"})) == pytest.approx(0.3)
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 55 < (asked_wait(httpx.Headers({"Retry-After": date})) or 0) <= 60
    used_up = {
        "X-RateLimit-Remaining-Requests": "0",
        "X-RateLimit-Reset-Requests": "3s",
        "X-RateLimit-Remaining-Tokens": "0",
        "X-RateLimit-Reset-Tokens": "1m",
    }
    assert exhausted_wait(httpx.Headers(used_up)) == 60
    assert exhausted_wait(httpx.Headers({**used_up, "X-RateLimit-Remaining-Tokens": "9"})) == 3
    assert asked_wait(httpx.Headers({"Retry-After": "a while"})) is None


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, None),
        (307, Kind.REFUSED),
        (400, Kind.REFUSED),
        (401, Kind.REFUSED),
        (403, Kind.REFUSED),
        (404, Kind.REFUSED),
        (408, Kind.FAULT),
        (422, Kind.REFUSED),
        (429, Kind.BUSY),
        (500, Kind.FAULT),
        (502, Kind.AWAY),
        (503, Kind.AWAY),
        (504, Kind.AWAY),
    ],
)
def test_which_statuses_are_asked_again(status: int, kind: Kind | None) -> None:
    failure = of_status(status, httpx.Headers(), b"what the server says")
    assert (failure.kind if failure else None) is kind


def test_pauses_double_up_to_a_bound_with_full_jitter() -> None:
    drawn = [[pause(attempt, 0.5) for _ in range(400)] for attempt in (1, 2, 3, 50)]
    for bound, pauses in zip((0.5, 1.0, 2.0, 30.0), drawn, strict=True):
        assert 0 <= min(pauses) < 0.1 * bound
        assert 0.9 * bound < max(pauses) <= bound


def test_a_key_is_shown_by_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", " k-123456 \n")
    key = Key("SOME_KEY")
    assert key.headers() == {"Authorization": "Bearer k-123456"}
    assert repr(key) == "Key(SOME_KEY)" and b"123456" not in pickle.dumps(key)
    assert key.hidden("you sent k-123456!") == "you sent [key]!"
    monkeypatch.setenv("SOME_KEY", "k-12\n3456")
    with pytest.raises(InputError, match="SOME_KEY holds characters that no key has") as caught:
        Key("SOME_KEY")
    assert "3456" not in str(caught.value)


@pytest.mark.parametrize(
    "address", ["localhost:8000", "ftp://x/v1", "http://x/v1?key=1", "http://me:pw@x/v1"]
)
def test_addresses_that_are_refused(address: str) -> None:
    with pytest.raises(ValidationError) as caught:
        OpenAIOptions(base_url=address)
    # dasd prints the message alone; pydantic's own text would repeat the input.
    assert "pw" not in caught.value.errors()[0]["msg"]


def test_what_only_changes_the_speed_keeps_the_samples_that_are_there() -> None:
    registry = PluginHost.load(["openai"]).registry

    def fingerprint(**options: Any) -> Any:
        settings = ModelSettings(model="dasd:mini-teacher", backend="openai", options=options)
        return engine_settings(settings, registry)

    other = fingerprint(base_url="http://other:1/v1", concurrency=3, timeout=5, patience=1, api_key_env="K")
    assert other == fingerprint() == fingerprint(base_url=["http://a/v1", "http://b/v1"])
    assert fingerprint(served_model="x") != fingerprint() != fingerprint(mode="chat")


def test_a_server_runs_no_student() -> None:
    recipe = Recipe.load("demo", ["student.backend=openai"], ["openai"])
    with pytest.raises(Exception, match=r"student\.backend: teacher 'openai' .* can't run a student"):
        check_recipe(PluginHost.load(["openai"]).registry, recipe.settings)


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def test_results_come_in_any_order_and_each_once(loop: Loop) -> None:
    gates = [asyncio.Event() for _ in range(4)]

    async def ask(item: int) -> int:
        if item == 3:  # lets the others go, last one first
            for gate in gates[2::-1]:
                gate.set()
            return 9
        await gates[item].wait()
        return item * item

    found = [each for batch in loop.unordered(range(4), ask, 4) for each in batch]
    assert found[0] == (3, 9)
    assert sorted(found) == [(0, 0), (1, 1), (2, 4), (3, 9)]


def test_an_error_and_a_caller_who_leaves_cancel_the_rest(loop: Loop) -> None:
    cancelled: list[int] = []

    async def ask(item: int) -> int:
        if item == 0:
            raise BackendError("no")
        if item == 1:
            return 1
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(item)
        return item

    with pytest.raises(BackendError, match="no"):
        list(loop.unordered([0, 2, 3], ask, 3))
    rest = loop.unordered([1, 4, 5], ask, 3)
    assert next(rest) == [(1, 1)]
    rest.close()  # type: ignore[attr-defined]
    loop.close()
    assert sorted(cancelled) == [2, 3, 4, 5]
    assert loop.closed


def test_a_budget_lets_in_what_has_room_and_the_largest_alone(loop: Loop) -> None:
    inside: list[int] = []
    most: list[int] = []
    budget = Budget(10)

    async def ask(tokens: int) -> int:
        async with budget.of(tokens):
            inside.append(tokens)
            most.append(sum(inside))
            await asyncio.sleep(0)
            inside.remove(tokens)
        return tokens

    sizes = [4, 5, 6, 25, 1, 9, 3]
    found = [item for batch in loop.unordered(sizes, ask, 7) for item, _ in batch]
    assert sorted(found) == sorted(sizes)
    assert max(total for total in most if total != 25) <= 10 and 25 in most and 9 in most


@pytest.fixture(scope="module")
def tokenizer() -> ChatTokenizer:
    return ChatTokenizer.load(ModelSettings(model="dasd:mini-teacher"))


@pytest.mark.parametrize("text", ["So 9 + 3 = 12. ", "Grüße 😀, 中文。", ""])
@pytest.mark.parametrize("ended", [True, False])
def test_text_becomes_the_tokens_that_the_server_sampled(
    text: str, ended: bool, tokenizer: ChatTokenizer
) -> None:
    ids, ends = tokenizer.encode_response(text, ended)
    raw = text.encode()
    pieces = [raw[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    pieces = [b"<eos>" if ended and i == len(ids) - 1 else piece for i, piece in enumerate(pieces)]
    reply = Reply(text, ended, None, tuple(pieces), tuple(-0.5 for _ in pieces))
    found = generated(reply, tokenizer, (), "sample s")
    assert list(found.token_ids) == ids
    assert found.logprobs is not None and len(found.logprobs) == len(ids)


def test_tokens_other_than_the_tokenizers_own_are_kept(tokenizer: ChatTokenizer) -> None:
    """A server that sampled character by character: one id a character, not the tokenizer's merges."""
    text = "So 9 + 3"
    assert len(tokenizer.encode_response(text, ended=False)[0]) < len(text)
    pieces = tuple(character.encode() for character in text)
    found = generated(Reply(text, False, None, pieces, (-1.0,) * len(text)), tokenizer, (), "sample s")
    assert len(found.token_ids) == len(text)
    assert tokenizer.decode(found.token_ids) == text


def test_a_tokenizer_without_weights_is_enough(tmp_path: Path) -> None:
    for file in Path(resolve_model("dasd:mini-teacher")).iterdir():
        if file.suffix != ".safetensors":
            shutil.copy(file, tmp_path)
    overrides = [f"teacher.model={tmp_path}", "teacher.backend=openai"]
    host = PluginHost.load(["openai"])
    assert build_graph(Recipe.load("demo", overrides, ["openai"]), host.registry)
    with pytest.raises(InputError, match="has no weights"):
        build_graph(Recipe.load("demo", overrides[:1]), host.registry)
