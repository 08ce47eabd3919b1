"""What the engine answers: as transformers would, whoever else is asked, and after whatever went wrong."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest
from vllm_asking import SPEC, apart, sampled, scored, to_score

from dasd.api import (
    BackendError,
    ChatTokenizer,
    ContinueRequest,
    InputError,
    ModelSettings,
    SampledTokens,
    SampleRequest,
    SamplingSpec,
    ScoreRequest,
    ScoringSpec,
    Teacher,
)

pytest.importorskip("vllm", reason="vLLM is not installed")


@pytest.fixture(scope="module")
def teacher(open_teacher: Callable[..., Any]) -> Iterator[Teacher]:
    with open_teacher() as opened:
        yield opened


def test_neighbours_and_order_change_no_text(teacher: Teacher, requests: list[SampleRequest]) -> None:
    together = sampled(teacher, requests)
    backwards = sampled(teacher, requests[::-1])
    few = sampled(teacher, requests[5:8])
    assert backwards["token_ids"].equals(together["token_ids"])
    assert few["token_ids"].equals(together.filter(pl.col("sample_id").is_in(few["sample_id"]))["token_ids"])
    assert together["text"].n_unique() > len(requests) / 2


def test_what_was_asked_before_changes_no_digit(teacher: Teacher, requests: list[SampleRequest]) -> None:
    first = sampled(teacher, requests)
    scored(teacher, to_score(first, requests))
    assert sampled(teacher, requests).equals(first)


def test_tokens_of_a_prefix_have_the_scores_of_the_text(
    teacher: Teacher, requests: list[SampleRequest]
) -> None:
    prefixes = ["<think>Begin at 9. So 9", "", "Grüße 😀 "]
    asked = [
        ContinueRequest(r.sample_id, r.question_id, r.messages, r.candidate, r.seed, prefix, 12)
        for r, prefix in zip(requests, prefixes, strict=False)
    ]
    rows = pl.concat(teacher.continue_(asked, SPEC)).sort("sample_id")
    assert [
        row["text"].startswith(prefix) for row, prefix in zip(rows.to_dicts(), prefixes, strict=True)
    ] == [True] * 3
    assert apart(rows, scored(teacher, to_score(rows, requests))) < 1e-4


def test_more_likeliest_tokens_than_there_are_are_all_of_them(
    teacher: Teacher, requests: list[SampleRequest]
) -> None:
    messages = requests[0].messages
    asked = [ScoreRequest("s", messages, "So 9", ended=True), ScoreRequest("t", messages, "", ended=False)]
    row, empty = scored(teacher, asked, ScoringSpec("score-low", 300, top=10**6)).to_dicts()
    vocabulary = len(row["top_ids"]) // len(row["token_ids"])
    ids, logprobs = (np.reshape(row[name], (-1, vocabulary)) for name in ("top_ids", "top_logprobs"))
    assert (np.sort(ids) == np.arange(vocabulary)).all()
    assert np.exp(logprobs).sum(-1) == pytest.approx(np.ones(len(ids)), abs=1e-4)
    own = [tops[chosen == token] for tops, chosen, token in zip(logprobs, ids, row["token_ids"], strict=True)]
    assert np.concatenate(own).tolist() == row["logprobs"]
    assert empty["top_ids"] == []


def test_a_text_may_fill_the_context(teacher: Teacher, requests: list[SampleRequest]) -> None:
    messages = requests[0].messages
    base = sampled(teacher, [requests[0]]).row(0, named=True)
    one = base["token_ids"][0]
    prompt = len(ChatTokenizer.load(ModelSettings(model="dasd:mini-teacher")).prompt_ids(messages))
    for extra, fits in ((0, True), (1, False)):
        count = 512 - prompt + extra
        tokens = SampledTokens([one] * count, list(range(1, count + 1)), base["tokenizer_hash"])
        asked = [ScoreRequest("long", messages, "x" * count, ended=False, sampled=tokens)]
        if fits:
            assert len(scored(teacher, asked)["logprobs"][0]) == count
        else:
            with pytest.raises(BackendError, match=r"sample long.*context"):
                scored(teacher, asked)


def test_an_abandoned_list_makes_room_for_the_next(
    teacher: Teacher, requests: list[SampleRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = sampled(teacher, requests)
    monkeypatch.setattr("dasd_vllm.engine.SECONDS", 0.0)  # answers come one by one
    rows = teacher.sample(requests, SPEC)
    assert next(rows).height < len(requests)
    with pytest.raises(BackendError, match="still answering another list"):
        next(teacher.sample(requests, SPEC))
    rows.close()  # type: ignore[attr-defined]
    assert sampled(teacher, requests).equals(wanted)


def test_ctrl_c_stops_the_engine_and_the_next_list_starts_it(
    teacher: Teacher, requests: list[SampleRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vllm.v1.engine.llm_engine import LLMEngine

    wanted = sampled(teacher, requests)
    steps, step = iter(range(100)), LLMEngine.step

    def interrupted(self: Any) -> Any:
        if next(steps) == 7:
            raise KeyboardInterrupt
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(LLMEngine, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sampled(teacher, requests)
    assert multiprocessing.active_children() == []
    assert sampled(teacher, requests).equals(wanted)


@pytest.mark.parametrize("temperature", [0.001, 2.5])
def test_temperatures_that_vllm_would_change_are_refused(
    teacher: Teacher, requests: list[SampleRequest], temperature: float
) -> None:
    with pytest.raises(InputError, match=f"temperature 0 or from 0.01 to 2.0, got {temperature}"):
        sampled(teacher, requests, SamplingSpec("low", temperature, 1.0, 5))
