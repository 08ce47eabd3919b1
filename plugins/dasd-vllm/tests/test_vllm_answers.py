"""What the engine answers: as transformers would, whoever else is asked, and after whatever went wrong."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

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

SPEC = SamplingSpec("low", 1.0, 1.0, 120)
GREEDY = SamplingSpec("low", 0.0, 1.0, 120)
BUDGET = ScoringSpec("score-low", 300)


@pytest.fixture(scope="module")
def teacher(open_teacher: Callable[..., Any]) -> Iterator[Teacher]:
    with open_teacher() as opened:
        yield opened


def sampled(teacher: Teacher, requests: Sequence[SampleRequest], spec: SamplingSpec = SPEC) -> pl.DataFrame:
    return pl.concat(teacher.sample(requests, spec)).sort("sample_id")


def to_score(samples: pl.DataFrame, requests: Sequence[SampleRequest]) -> list[ScoreRequest]:
    messages = {request.sample_id: request.messages for request in requests}
    return [
        ScoreRequest(
            row["sample_id"],
            messages[row["sample_id"]],
            row["text"],
            row["finish_reason"] == "stop",
            SampledTokens(row["token_ids"], row["token_ends"], row["tokenizer_hash"]),
        )
        for row in samples.iter_rows(named=True)
    ]


def scored(teacher: Teacher, asked: Sequence[ScoreRequest], spec: ScoringSpec = BUDGET) -> pl.DataFrame:
    return pl.concat(teacher.score(asked, spec)).sort("sample_id")


def flat(rows: pl.DataFrame) -> npt.NDArray[np.float32]:
    return rows["logprobs"].explode().to_numpy()


def apart(one: pl.DataFrame, other: pl.DataFrame) -> float:
    assert one["token_ids"].equals(other["token_ids"])
    return float(np.abs(flat(one) - flat(other)).max())


@pytest.mark.parametrize("model", ["dasd:mini-teacher", "dasd:mini-student"])
def test_in_float32_scores_and_greedy_samples_are_those_of_transformers(
    open_teacher: Callable[..., Any], requests: list[SampleRequest], model: str
) -> None:
    """Scores differ in the last digits: sums over four layers are taken in another order."""
    with open_teacher(model, "transformers") as reference:
        samples = sampled(reference, requests)
        wanted = scored(reference, to_score(samples, requests))
        greedy = sampled(reference, requests, GREEDY)
    with open_teacher(model) as teacher:
        assert apart(scored(teacher, to_score(samples, requests)), wanted) < 5e-5
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


@pytest.mark.parametrize("temperature", [0.001, 2.5])
def test_temperatures_that_vllm_would_change_are_refused(
    teacher: Teacher, requests: list[SampleRequest], temperature: float
) -> None:
    with pytest.raises(InputError, match=f"temperature 0 or from 0.01 to 2.0, got {temperature}"):
        sampled(teacher, requests, SamplingSpec("low", temperature, 1.0, 5))
