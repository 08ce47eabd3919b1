"""Other kinds of servers: a proxy takes away from a real server's answers what those don't give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import polars as pl
import pytest
from openai_asking import GREEDY, TOKENS, WARM, requests, rows, sampled
from openai_faults import Proxy, Rewrite
from openai_serving import VllmServer

from dasd.api import (
    BackendError,
    ContinueRequest,
    InputError,
    RecipeError,
    SampledTokens,
    SamplingSpec,
    ScoreRequest,
    ScoringSpec,
    Teacher,
)
from dasd.pipeline.work.opened_teacher import check_logprobs
from dasd.plugins.host import PluginHost
from dasd.plugins.recipe import Recipe

Open = Callable[..., Teacher]
Choice = dict[str, Any]
pytestmark = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed in this environment")


@pytest.fixture
def proxy(server: VllmServer) -> Iterator[Proxy]:
    with Proxy(server.url) as proxy:
        yield proxy


@pytest.fixture
def wanted(server: VllmServer, open_teacher: Open) -> pl.DataFrame:
    return sampled(open_teacher(server.url), GREEDY)


def plain(change: Callable[[Choice], object] = lambda _: None) -> Rewrite:
    """A server that nobody knows: no version, no context length, no token ids; ``change`` spoils choices further."""

    def rewrite(path: str, answer: dict[str, Any]) -> dict[str, Any] | None:
        if path == "/version":
            return None
        for card in answer.get("data", []):
            card["owned_by"] = "someone"
            del card["max_model_len"]
        for choice in answer.get("choices", []):
            del choice["token_ids"]
            change(choice)
        return answer

    return rewrite


def chat_only(change: Callable[[Choice], object] = lambda _: None) -> Rewrite:
    inner = plain(change)
    return lambda path, answer: None if path.endswith("/v1/completions") else inner(path, answer)


def test_chat_gives_the_same_as_tokens(wanted: pl.DataFrame, server: VllmServer, open_teacher: Open) -> None:
    rows = sampled(open_teacher(server.url, mode="chat"), GREEDY)
    assert rows.select(TOKENS).equals(wanted.select(TOKENS))
    assert rows["logprobs"].list.len().equals(wanted["logprobs"].list.len())


@pytest.mark.parametrize(
    ("rewrite", "path"), [(plain(), "/v1/completions"), (chat_only(), "/v1/chat/completions")]
)
def test_without_token_ids_the_text_is_tokenised_again(
    rewrite: Rewrite, path: str, wanted: pl.DataFrame, proxy: Proxy, open_teacher: Open
) -> None:
    proxy.rewrite = rewrite
    teacher = open_teacher(proxy.url)
    assert (teacher.info.engine, teacher.info.engine_version) == ("openai:other", "unknown")
    assert teacher.info.context_length == 512  # the model's config says so
    before = proxy.requests[path]
    rows = sampled(teacher, GREEDY)
    assert proxy.requests[path] == before + 8
    assert "top_k" not in proxy.bodies[-1] and "return_token_ids" not in proxy.bodies[-1]
    assert rows.select(TOKENS).equals(wanted.select(TOKENS))
    for ours, theirs in zip(rows["logprobs"], wanted["logprobs"], strict=True):
        assert ours.to_list() == pytest.approx(theirs.to_list(), abs=2e-3)


def test_tokens_that_are_not_the_texts_are_an_error_with_the_samples_name(
    proxy: Proxy, open_teacher: Open
) -> None:
    teacher = open_other(proxy, open_teacher)

    def merge(choice: Choice) -> None:
        """The first three tokens told as one, which the tokenizer doesn't have."""
        found = choice["logprobs"]
        found["tokens"][:3] = ["".join(found["tokens"][:3])]
        del found["token_logprobs"][:2]

    proxy.rewrite = plain(merge)
    with pytest.raises(
        BackendError,
        match=r"sample sample-0: the server gives one log-probability for .* writes it as 3 tokens",
    ):
        sampled(teacher, count=1)

    proxy.rewrite = plain(lambda choice: choice["logprobs"]["tokens"].__setitem__(0, "?"))
    with pytest.raises(BackendError, match=r"sample sample-0: the tokens .* are not its text"):
        sampled(teacher, count=1)


def test_an_end_without_a_logprob_is_an_error_with_the_samples_name(proxy: Proxy, open_teacher: Open) -> None:
    teacher = open_other(proxy, open_teacher)

    def without_end(choice: Choice) -> None:
        if choice["finish_reason"] == "stop":
            choice["logprobs"]["tokens"].pop()
            choice["logprobs"]["token_logprobs"].pop()

    proxy.rewrite = plain(without_end)
    with pytest.raises(BackendError, match=r"sample sample-0: .* not of the end .*logprobs: none"):
        sampled(teacher, SamplingSpec("test", 0.0, 1.0, 300), count=1)


def open_other(proxy: Proxy, open_teacher: Open) -> Teacher:
    proxy.rewrite = plain()
    return open_teacher(proxy.url)


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_a_reasoning_parser_is_refused(field: str, proxy: Proxy, open_teacher: Open) -> None:
    proxy.rewrite = chat_only(lambda choice: choice["message"].update({field: "So", "content": None}))
    with pytest.raises(BackendError, match=r"start the server without it .*--reasoning-parser"):
        open_teacher(proxy.url)


def test_a_null_text_and_no_choice_are_refused(proxy: Proxy, open_teacher: Open) -> None:
    proxy.rewrite = chat_only()
    teacher = open_teacher(proxy.url, retries=1)
    proxy.rewrite = chat_only(lambda choice: choice["message"].update({"content": None}))
    with pytest.raises(BackendError, match=r"sample sample-0: .*failed 2 times.*wanted a text, got None"):
        sampled(teacher, count=1)
    proxy.rewrite = lambda _, answer: {**answer, "choices": []}
    with pytest.raises(BackendError, match=r"sample sample-0: .*failed 2 times.*wanted one choice, got 0"):
        sampled(teacher, count=1)


def test_chat_can_neither_continue_nor_score(proxy: Proxy, open_teacher: Open) -> None:
    proxy.rewrite = chat_only()
    teacher = open_teacher(proxy.url)
    request = requests(1)[0]
    with pytest.raises(BackendError, match="chat endpoint, which can't continue a response"):
        rows(
            teacher.continue_(
                [ContinueRequest("s", "q", request.messages, 0, 1, "So")], SamplingSpec("t", 1.0, 1.0, 8)
            )
        )
    with pytest.raises(BackendError, match="chat endpoint, which can't score a text"):
        rows(teacher.score([ScoreRequest("s", request.messages, "So", ended=False)], ScoringSpec("t", 100)))


def test_other_servers_score_and_continue_by_an_echo(
    server: VllmServer, proxy: Proxy, open_teacher: Open, wanted: pl.DataFrame
) -> None:
    proxy.rewrite = plain()
    ours, theirs = open_teacher(proxy.url), open_teacher(server.url)
    asked = [
        ScoreRequest(
            row["sample_id"],
            request.messages,
            row["text"],
            ended=row["finish_reason"] == "stop",
            sampled=SampledTokens(row["token_ids"], row["token_ends"], row["tokenizer_hash"]),
        )
        for row, request in zip(wanted.iter_rows(named=True), requests(), strict=True)
    ]
    spec = ScoringSpec("test", 4096)
    for one, other in zip(
        rows(ours.score(asked, spec))["logprobs"], rows(theirs.score(asked, spec))["logprobs"], strict=True
    ):
        assert one.to_list() == pytest.approx(other.to_list(), abs=2e-3)
    assert proxy.bodies[-1]["echo"] is True
    begun = [ContinueRequest(r.sample_id, "q", r.messages, 0, 1, "So 4") for r in requests(3)]
    one, other = (rows(teacher.continue_(begun, GREEDY)) for teacher in (ours, theirs))
    assert one.select(TOKENS).equals(other.select(TOKENS))
    assert one["logprobs"].list.len().equals(one["token_ids"].list.len())


def test_a_server_without_prompt_logprobs_says_so(proxy: Proxy, open_teacher: Open) -> None:
    teacher = open_teacher(proxy.url, retries=0)
    proxy.rewrite = lambda _, answer: {
        **answer,
        "choices": [{**answer["choices"][0], "prompt_logprobs": None}],
    }
    with pytest.raises(BackendError, match=r"sample s: .*none prompt_logprobs for \d+ tokens"):
        rows(
            teacher.score(
                [ScoreRequest("s", requests(1)[0].messages, "So", ended=False)], ScoringSpec("t", 100)
            )
        )


def tempered(path: str, answer: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """What a server gives that reports log-probabilities after the temperature: gaps grow with its inverse."""
    del path
    for choice in answer.get("choices", []):
        for place in (choice["logprobs"] or {}).get("top_logprobs", ()):
            place.update({token: value / body["temperature"] for token, value in place.items()})
    return answer


def test_logprobs_after_the_temperature_are_told_apart(proxy: Proxy, open_teacher: Open) -> None:
    proxy.rewrite = lambda path, answer: (
        tempered(path, answer, proxy.bodies[-1]) if "choices" in answer else answer
    )
    teacher = open_teacher(proxy.url)
    assert teacher.info.logprobs_mode == "processed"
    assert sampled(teacher, WARM, 2)["logprobs_mode"].to_list() == ["processed"] * 2
    # At temperature 1 and without a nucleus nothing is done to them.
    assert sampled(teacher, SamplingSpec("t", 1.0, 1.0, 8), 2)["logprobs_mode"].to_list() == ["raw"] * 2
    registry = PluginHost.load(["openai"]).registry
    with pytest.raises(
        RecipeError, match=r"gives them after the temperature only \(stages\.0, temperature 0\.6\)"
    ):
        check_logprobs(registry, Recipe.load("demo").settings, teacher.info)
    hot = Recipe.load("demo", ["stages=[{name: high, temperature: 1.0}]"]).settings
    check_logprobs(registry, hot, teacher.info)


def test_without_logprobs_divergence_is_refused_before_anything_is_sampled(
    proxy: Proxy, open_teacher: Open
) -> None:
    proxy.rewrite = chat_only(lambda choice: choice.update(logprobs=None))
    teacher = open_teacher(proxy.url)
    assert teacher.info.logprobs_mode == "none"
    assert sampled(teacher, count=2)["logprobs"].null_count() == 2
    registry = PluginHost.load(["openai"]).registry
    with pytest.raises(
        RecipeError, match=r"'divergence' compares .* openai:other unknown gives none .*random"
    ):
        check_logprobs(registry, Recipe.load("demo").settings, teacher.info)
    check_logprobs(registry, Recipe.load("demo", ["select.selector=random"]).settings, teacher.info)
    with pytest.raises(InputError, match=r"wanted 'raw', and .* gives no log-probabilities"):
        open_teacher(proxy.url, logprobs="raw")


def test_logprobs_none_asks_for_none(proxy: Proxy, open_teacher: Open) -> None:
    teacher = open_teacher(proxy.url, logprobs="none")
    assert sampled(teacher, count=2)["logprobs"].null_count() == 2
    assert not [body for body in proxy.bodies if "logprobs" in body]
