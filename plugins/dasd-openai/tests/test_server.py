"""Against a real vLLM server: the same tokens and numbers as the model gives in process."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from openai_asking import GREEDY, sampled
from openai_serving import VllmServer

from dasd.api import ContinueRequest, ModelSettings, SampledTokens, ScoreRequest, ScoringSpec, Teacher
from dasd.testing import TeacherSuite

Open = Callable[..., Teacher]
pytestmark = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed in this environment")


@pytest.mark.usefixtures("key")
class TestOpenAITeacher(TeacherSuite):
    name = "openai"
    scores = True
    streams = True

    @pytest.fixture
    def settings(self, server: VllmServer) -> ModelSettings:
        return ModelSettings(
            model=self.model,
            backend=self.name,
            precision="fp32",
            device="cpu",
            batch_size=8,
            options={"base_url": server.url},
        )


@pytest.fixture
def teacher(server: VllmServer, open_teacher: Open) -> Teacher:
    return open_teacher(server.url)


def test_it_says_whom_it_asks(teacher: Teacher) -> None:
    from vllm import __version__

    info = teacher.info
    assert (info.engine, info.engine_version, info.context_length) == ("openai:vllm", __version__, 512)
    assert info.model_revision.startswith("mini ")
    assert info.logprobs_mode == "raw"  # measured, not believed


def test_greedy_responses_are_those_of_the_model_in_process(teacher: Teacher, in_process: Teacher) -> None:
    ours, theirs = sampled(teacher, GREEDY), sampled(in_process, GREEDY)
    for column in ("text", "token_ids", "token_ends", "finish_reason", "tokenizer_hash"):
        assert ours[column].to_list() == theirs[column].to_list(), column
    near(ours["logprobs"].to_list(), theirs["logprobs"].to_list())


def test_continuations_are_those_of_the_model_in_process(teacher: Teacher, in_process: Teacher) -> None:
    from openai_asking import requests, rows

    asked = [
        ContinueRequest(r.sample_id, r.question_id, r.messages, 0, r.seed, prefix)
        for r, prefix in zip(requests(4), ("<think>Begin at 9", "So", "", "  é😀 "), strict=True)
    ]
    ours, theirs = (rows(model.continue_(asked, GREEDY)) for model in (teacher, in_process))
    assert ours["text"].to_list() == theirs["text"].to_list()
    assert ours["token_ids"].to_list() == theirs["token_ids"].to_list()
    near(ours["logprobs"].to_list(), theirs["logprobs"].to_list())


def test_scores_are_those_of_the_model_in_process(teacher: Teacher, in_process: Teacher) -> None:
    from openai_asking import requests, rows

    asked = [
        ScoreRequest(
            row["sample_id"],
            request.messages,
            row["text"],
            row["finish_reason"] == "stop",
            SampledTokens(row["token_ids"], row["token_ends"], row["tokenizer_hash"]),
        )
        for row, request in zip(sampled(teacher).iter_rows(named=True), requests(), strict=True)
    ]
    ours, theirs = (rows(model.score(asked, ScoringSpec("test", 300))) for model in (teacher, in_process))
    assert ours["token_ids"].to_list() == theirs["token_ids"].to_list()
    near(ours["logprobs"].to_list(), theirs["logprobs"].to_list())


def near(ours: list[Any], theirs: list[Any]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)
