"""Engines of other precision, with little room, and out of memory; each test opens its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from vllm_asking import GREEDY, TOP, apart, flat, sampled, scored, to_score

from dasd.api import (
    BackendError,
    InputError,
    SampleRequest,
    ScoreRequest,
    ScoringSpec,
)

pytest.importorskip("vllm", reason="vLLM is not installed")


@pytest.mark.parametrize("model", ["dasd:mini-teacher", "dasd:mini-student"])
def test_in_float32_scores_and_greedy_samples_are_those_of_transformers(
    open_teacher: Callable[..., Any], requests: list[SampleRequest], model: str
) -> None:
    """Scores differ in the last digits: sums over four layers are taken in another order."""
    with open_teacher(model, "transformers") as reference:
        samples = sampled(reference, requests)
        wanted = scored(reference, to_score(samples, requests))
        greedy = sampled(reference, requests, GREEDY)
        likeliest = scored(reference, to_score(samples[:6], requests), TOP)
    with open_teacher(model) as teacher:
        assert apart(scored(teacher, to_score(samples, requests)), wanted) < 5e-5
        got = scored(teacher, to_score(samples[:6], requests), TOP)
        assert apart(got, wanted[:6]) < 5e-5
        assert np.abs(flat(got, "top_logprobs") - flat(likeliest, "top_logprobs")).max() < 5e-5
        # Neighbours of nearly the same probability may change places.
        assert (flat(got, "top_ids") == flat(likeliest, "top_ids")).mean() > 0.999
        assert sampled(teacher, requests, GREEDY)["token_ids"].equals(greedy["token_ids"])


def test_in_bf16_scores_are_as_near_to_float32_as_those_of_transformers(
    open_teacher: Callable[..., Any], requests: list[SampleRequest]
) -> None:
    with open_teacher(backend="transformers") as reference:
        asked = to_score(sampled(reference, requests), requests)
        exact = flat(scored(reference, asked))
    with open_teacher(backend="transformers", precision="bf16") as reference:
        rounded = flat(scored(reference, asked))
    with open_teacher(precision="bf16") as teacher:
        got = flat(scored(teacher, asked))
    assert np.abs(got - exact).mean() < 1.5 * np.abs(rounded - exact).mean()
    assert np.abs(got - rounded).mean() < 0.03


def test_prompts_in_pieces_and_a_full_cache_change_no_draw(
    open_teacher: Callable[..., Any], requests: list[SampleRequest]
) -> None:
    """Sixteen prompts share passes of 24 tokens; with room for five responses the others are computed again."""
    with open_teacher() as teacher:
        wanted = sampled(teacher, requests)
    with open_teacher(max_num_batched_tokens=24, kv_cache_memory_mib=4) as small:
        assert sampled(small, requests)["token_ids"].equals(wanted["token_ids"])


def test_scoring_halves_its_passes_when_memory_runs_out(
    open_teacher: Callable[..., Any], requests: list[SampleRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Passes of more than 100 tokens run out of memory: the engine starts again with 128, then 64."""
    import torch
    from vllm.v1.worker.cpu_model_runner import CPUModelRunner

    passes: list[int] = []
    execute = CPUModelRunner.execute_model

    def limited(self: Any, scheduled: Any, *arguments: Any, **named: Any) -> Any:
        passes.append(scheduled.total_num_scheduled_tokens)
        if passes[-1] > 100:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 4.00 GiB")
        return execute(self, scheduled, *arguments, **named)

    with open_teacher(max_num_batched_tokens=256) as teacher:
        samples = sampled(teacher, requests)
        asked = to_score(samples, requests)
        wanted = scored(teacher, asked, ScoringSpec("score-low", 4096))
        with monkeypatch.context() as patch:
            patch.setattr(CPUModelRunner, "execute_model", limited)
            got = scored(teacher, asked, ScoringSpec("score-low", 4096))
            again = scored(teacher, asked, ScoringSpec("score-low", 4096))
        too_much = [count for count in passes if count > 100]
        assert len(too_much) == 2
        assert 128 < too_much[0] <= 256 and 100 < too_much[1] <= 128
        assert max(passes[passes.index(too_much[1]) + 1 :]) <= 64
        assert apart(got, wanted) < 1e-4
        assert again.equals(got)


def test_memory_that_runs_out_while_sampling_is_told(
    open_teacher: Callable[..., Any], requests: list[SampleRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from vllm.v1.worker.cpu_model_runner import CPUModelRunner

    def none_left(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with open_teacher(max_num_batched_tokens=32) as teacher:
        monkeypatch.setattr(CPUModelRunner, "execute_model", none_left)
        with pytest.raises(BackendError, match=r"stage low: vLLM failed while decoding.*lower batch_size"):
            sampled(teacher, requests)
        with pytest.raises(
            BackendError, match=r"sample s: memory runs out while scoring its .* tokens, even 16 at a time"
        ):
            scored(teacher, [ScoreRequest("s", requests[0].messages, "So 9", ended=True)])


def test_what_an_engine_refuses_while_it_is_open(
    open_teacher: Callable[..., Any], requests: list[SampleRequest]
) -> None:
    with open_teacher(engine={"max_logprobs": 4}) as teacher:
        with (
            pytest.raises(
                BackendError, match=r"one engine of vLLM at a time.*still has that of dasd:mini-teacher"
            ),
            open_teacher("dasd:mini-student"),
        ):
            pass
        asked = [ScoreRequest("s", requests[0].messages, "So 9", ended=True)]
        with pytest.raises(InputError, match=r"options\.engine\.max_logprobs: the 40 likeliest.*allows 4"):
            scored(teacher, asked, TOP)
        assert scored(teacher, asked, ScoringSpec("score-low", 300, top=4)).height == 1
