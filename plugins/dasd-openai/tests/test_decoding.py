"""Random damage to right answers: the one place that decodes them gives a valid row or the usual failure."""

from __future__ import annotations

import asyncio
import json
import math
from copy import deepcopy
from typing import Any

import httpx
import pytest
from benchmarks.loopback import Answers
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzzing import fuzz

from dasd.api import BackendError, ChatTokenizer, ModelSettings
from dasd_openai.answers import (
    About,
    Completion,
    ModelList,
    decoded,
    echoed_logprobs,
    first_top_logprobs,
    only_choice,
    prompt_logprobs,
    read_chat,
    read_completion,
)
from dasd_openai.failures import Failure, MalformedError, of_status, plain
from dasd_openai.receiving import receive
from dasd_openai.retokenise import generated

TOKENIZER = ChatTokenizer.load(ModelSettings(model="dasd:mini-teacher"))
PROMPT = [1, 2, 3]
_ANSWERS = Answers()
RIGHT = {
    path: _ANSWERS.to(path, {"max_tokens": 48, "prompt": PROMPT, **more})
    for path, more in {
        "/v1/completions": {"prompt_logprobs": 0},
        "/v1/chat/completions": {},
        "/v1/models": {},
    }.items()
}
DEEP: Any = 0
for _ in range(300):
    DEEP = {"a": [DEEP]}
VALUES = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        5,
        10**12,
        10**400,
        1e308,
        -0.0,
        9.5,
        math.nan,
        -math.inf,
        "",
        "So",
        "\ud800",
        "\x1b",
        [],
        {},
        DEEP,
    ]
) | st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Each container with each of its keys."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [(value, key) for key in keys] + [place for key in keys for place in places(value[key])]


@st.composite
def spoilt(draw: st.DrawFn) -> tuple[str, bytes]:
    """A path, and a right answer with values replaced, removed or doubled and bytes changed or cut."""
    path = draw(st.sampled_from(sorted(RIGHT)))
    answer = deepcopy(RIGHT[path])
    for _ in range(draw(st.integers(0, 3))):
        found = places(answer)
        if not found:
            break
        holder, key = draw(st.sampled_from(found))
        kind = draw(st.sampled_from(["replace", "remove", "double"]))
        if kind == "replace":
            holder[key] = draw(VALUES)
        elif kind == "remove":
            del holder[key]
        elif isinstance(holder, list):
            holder.append(holder[key])
    raw = bytearray(json.dumps(answer).encode())
    for _ in range(draw(st.integers(0, 2))):
        raw[draw(st.integers(0, len(raw) - 1))] = draw(st.integers(0, 255))
    return path, bytes(raw[: draw(st.integers(0, len(raw)))] if draw(st.integers(0, 9)) == 0 else raw)


@fuzz(examples=500)
@given(spoilt())
def test_a_spoilt_answer_is_a_valid_row_or_the_usual_failure(sent: tuple[str, bytes]) -> None:
    path, raw = sent
    try:
        if path.endswith("/models"):
            cards = decoded(raw, ModelList).data
            assert all(card.id.isprintable() and (card.context_length or 1) > 0 for card in cards)
            return
        answer = decoded(raw, Completion)
        first_top_logprobs(answer)
        reading = read_chat if "chat" in path else read_completion
        reply = reading(answer, 48, TOKENIZER.vocab_size)
        row = generated(reply, TOKENIZER, (), "sample s")
    except (MalformedError, BackendError) as error:
        assert plain(str(error)).isprintable()
        return
    assert len(row.token_ids) <= 49 and all(0 <= token < TOKENIZER.vocab_size for token in row.token_ids)
    TOKENIZER.decode(row.token_ids).encode()
    if row.logprobs is not None:
        assert len(row.logprobs) == len(row.token_ids)
        assert all(math.isfinite(value) and value <= 0 for value in row.logprobs)
    for find in (prompt_logprobs, echoed_logprobs):
        try:
            scored = find(only_choice(answer), PROMPT, 1)
        except MalformedError:
            continue
        assert len(scored) == 2 and all(math.isfinite(value) and value <= 0 for value in scored)


@fuzz(examples=300)
@given(
    st.integers(100, 599),
    st.dictionaries(
        st.sampled_from(
            [
                "retry-after",
                "retry-after-ms",
                "location",
                "x-ratelimit-remaining-requests",
                "x-ratelimit-reset-requests",
            ]
        ),
        st.text("0123456789.-+eEsmhinfna \x1b", max_size=60) | st.dates().map(str) | st.text(max_size=9),
    ),
    st.binary(max_size=40) | VALUES.map(lambda value: json.dumps({"error": value}).encode()),
)
def test_any_status_is_a_failure_that_can_be_shown(status: int, headers: dict[str, str], body: bytes) -> None:
    found = of_status(status, headers, body)
    assert (found is None) == (200 <= status < 300)
    if isinstance(found, Failure):
        assert plain(found.reason).isprintable()
        assert found.wait is None or found.wait >= 0


@fuzz(examples=200)
@given(st.binary(max_size=60), st.sampled_from(["", "gzip", "br", "identity", "\x1b"]))
def test_any_body_ends(raw: bytes, encoding: str) -> None:
    response = httpx.Response(200, headers={"content-encoding": encoding}, stream=_Body(raw))
    try:
        assert len(asyncio.run(receive(response, 50))) <= 50
    except MalformedError as error:
        assert len(raw) > 50 or encoding not in ("", "identity"), error


class _Body(httpx.AsyncByteStream):
    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    async def __aiter__(self) -> Any:
        yield self.raw


def test_what_a_server_tells_of_itself_is_kept_as_it_is() -> None:
    assert decoded(b'{"version": "1", "more": [1, null]}', About).model_extra == {
        "version": "1",
        "more": [1, None],
    }
    with pytest.raises(MalformedError, match="an object"):
        decoded(b"[]", About)
