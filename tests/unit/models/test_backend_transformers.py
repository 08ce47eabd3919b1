"""The backend ``transformers`` on tiny Llamas: sampling, continuation, scoring, and that they agree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch
from tests.tiny_models import TOKENIZERS, byte_level, metaspace, save_llama
from transformers import AutoModelForCausalLM

from dasd.base.records import (
    ContinueRequest,
    Message,
    SampledTokens,
    SampleRequest,
    SamplingSpec,
    ScoreRequest,
    ScoringSpec,
)
from dasd.base.schemas import SAMPLES, SCORES, check
from dasd.errors import BackendError, InputError
from dasd.models.tokens.chat import ChatTokenizer
from dasd.models.transformers.engine import TransformersTeacher
from dasd.recipe.model_settings import ModelSettings

QUESTIONS = ["9 + 3?", "Let me see. So 4 and 5 is what, and how do you know?", "4", "So 9 and 3 is"]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    return save_llama(tmp_path_factory.mktemp("byte_level"), byte_level())


@pytest.fixture(scope="module")
def teacher(settings: ModelSettings) -> TransformersTeacher:
    return TransformersTeacher(settings)


def requests(candidates: int = 3, max_tokens: int | None = None) -> list[SampleRequest]:
    return [
        SampleRequest(f"{q}/{c}", f"q{q}", (Message("user", text),), c, 1000 * q + c, max_tokens)
        for q, text in enumerate(QUESTIONS)
        for c in range(candidates)
    ]


def spec(temperature: float = 1.0, top_p: float = 1.0, max_tokens: int = 40) -> SamplingSpec:
    return SamplingSpec("low", temperature, top_p, max_tokens)


def sampled(teacher: TransformersTeacher, asked: list[SampleRequest], how: SamplingSpec) -> pl.DataFrame:
    frame = pl.concat(list(teacher.sample(asked, how)))
    order = pl.DataFrame({"sample_id": [request.sample_id for request in asked]})
    return order.join(frame, on="sample_id", maintain_order="left").select(list(SAMPLES.columns))


def score_requests(samples: pl.DataFrame, asked: list[SampleRequest]) -> list[ScoreRequest]:
    messages = {request.sample_id: request.messages for request in asked}
    return [
        ScoreRequest(
            row["sample_id"], messages[row["sample_id"]], row["text"], row["finish_reason"] == "stop"
        )
        for row in samples.iter_rows(named=True)
    ]


def logprobs_of(settings: ModelSettings, prompt: list[int], response: list[int]) -> torch.Tensor:
    """Plainly, one sequence at a time, by transformers itself."""
    model = AutoModelForCausalLM.from_pretrained(settings.model, dtype=torch.float32)
    with torch.inference_mode():
        logits = model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
    return torch.log_softmax(logits, -1)


def test_rows_are_samples_and_agree_with_the_model(
    settings: ModelSettings, teacher: TransformersTeacher
) -> None:
    asked = requests()
    frames = list(teacher.sample(asked, spec(temperature=0.7)))
    assert [frame.height for frame in frames] == [4, 4, 4]
    samples = pl.concat([check(frame, SAMPLES, "transformers") for frame in frames])
    assert sorted(samples["sample_id"]) == sorted(request.sample_id for request in asked)
    assert set(samples["finish_reason"]) == {"stop", "length"}, "the seeds should give both"
    tokenizer = ChatTokenizer.load(settings)
    messages = {request.sample_id: request.messages for request in asked}
    for row in samples.iter_rows(named=True):
        ended = row["finish_reason"] == "stop"
        ids = row["token_ids"]
        assert (ids[-1] == tokenizer.eos_id) is ended
        assert len(ids) <= 40
        assert ended or len(ids) == 40
        assert row["text"] == tokenizer.decode(ids[:-1] if ended else ids)
        ends = row["token_ends"]
        assert ends[-1] == len(row["text"].encode())
        assert not ended or len(ends) == 1 or ends[-1] == ends[-2]
        wanted = logprobs_of(settings, tokenizer.prompt_ids(messages[row["sample_id"]]), ids)
        wanted = wanted.gather(-1, torch.tensor(ids)[:, None])[:, 0]
        # Raw: at temperature 1, whatever the sampling temperature.
        assert torch.allclose(torch.tensor(row["logprobs"]), wanted, atol=1e-4)
        assert row["logprobs_mode"] == "raw"
        assert row["prefix_end"] == 0


def test_a_draw_depends_on_its_own_seed_only(teacher: TransformersTeacher) -> None:
    asked = requests()
    together = sampled(teacher, asked, spec())
    alone = pl.concat([sampled(teacher, [request], spec()) for request in asked])
    assert together["token_ids"].equals(alone["token_ids"])
    assert sampled(teacher, asked, spec()).equals(together), (
        "the same requests give the same rows, bit for bit"
    )
    first = together.filter(pl.col("question_id") == "q0")["text"].to_list()
    assert len(set(first)) == 3, "candidates differ by their seeds"


def test_greedy_takes_the_likeliest_token(settings: ModelSettings, teacher: TransformersTeacher) -> None:
    asked = requests(1)
    tokenizer = ChatTokenizer.load(settings)
    for row, request in zip(sampled(teacher, asked, spec(0)).iter_rows(named=True), asked, strict=True):
        wanted = logprobs_of(settings, tokenizer.prompt_ids(request.messages), row["token_ids"]).argmax(-1)
        assert row["token_ids"] == wanted.tolist()


def test_caps_on_new_tokens(settings: ModelSettings, teacher: TransformersTeacher) -> None:
    asked = [*requests(1)[:2], *requests(1, max_tokens=3)[2:]]
    samples = sampled(teacher, asked, spec(max_tokens=5))
    assert samples["token_ids"].list.len().to_list() == [5, 5, 3, 3]
    tokenizer = ChatTokenizer.load(settings)
    long = "a b " * 70
    asked = [SampleRequest(f"{seed}", "q", (Message("user", long),), seed, seed) for seed in range(8)]
    room = 256 - len(tokenizer.prompt_ids(asked[0].messages))
    assert 0 < room < 60, "the test's prompt has to come near the context"
    samples = sampled(teacher, asked, spec(max_tokens=1000))
    lengths = samples["token_ids"].list.len()
    assert lengths.max() == room
    assert (samples["finish_reason"] == "length").equals(lengths == room)


def test_a_prompt_without_room_is_refused_and_costs_no_other(teacher: TransformersTeacher) -> None:
    request = SampleRequest("s17", "q4", (Message("user", "x y " * 200),), 0, 1)
    prefixed = ContinueRequest("s18", "q0", requests(1)[0].messages, 0, 1, "x y " * 200)
    with pytest.raises(BackendError, match=r"s17.*leaves no room in the context.*\(256\)"):
        list(teacher.sample([*requests(1), request], spec()))
    told: dict[str, str] = {}
    how = replace(spec(), on_refused=told.__setitem__)
    rows = sampled(teacher, requests(1), spec())
    assert pl.concat(teacher.sample([*requests(1), request], how)).sort("sample_id").equals(rows)
    assert not list(teacher.continue_([prefixed], how))
    assert set(told) == {"s17", "s18"} and "its prefix 601" in told["s18"]


def test_a_conversation_that_cannot_be_rendered_is_refused(tmp_path: Path) -> None:
    tokenizer = byte_level()
    tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        + str(tokenizer.chat_template)
    )
    teacher = TransformersTeacher(save_llama(tmp_path, tokenizer))
    bad = replace(requests(1)[0], sample_id="bad", messages=(Message("system", "x"), Message("user", "4")))
    told: dict[str, str] = {}
    rows = list(teacher.sample([bad, *requests(1)], replace(spec(), on_refused=told.__setitem__)))
    assert sum(frame.height for frame in rows) == len(requests(1))
    assert list(told) == ["bad"] and "no system" in told["bad"]


def test_what_is_left_of_a_list_is_batched_as_it_would_have_been(teacher: TransformersTeacher) -> None:
    """So a stage that goes on behind whole batches ends with the same bits."""
    asked = requests()
    frames = list(teacher.sample(asked, spec(0.8)))
    for done in range(1, len(frames)):
        gone = set(pl.concat(frames[:done])["sample_id"])
        rest = list(
            teacher.sample([request for request in asked if request.sample_id not in gone], spec(0.8))
        )
        assert pl.concat(rest).equals(pl.concat(frames[done:])), done
    scored = score_requests(pl.concat(frames), asked)
    how = ScoringSpec("low", 100)
    parts = list(teacher.score(scored, how))
    assert len(parts) > 2
    gone = set(parts[0]["sample_id"])
    rest = list(teacher.score([request for request in scored if request.sample_id not in gone], how))
    assert pl.concat(rest).equals(pl.concat(parts[1:]))


@pytest.mark.parametrize("kind", sorted(TOKENIZERS))
def test_continuing_a_greedy_prefix_is_the_uninterrupted_run(kind: str, tmp_path: Path) -> None:
    teacher = TransformersTeacher(save_llama(tmp_path, TOKENIZERS[kind](), seed=3))
    tokenizer = ChatTokenizer.load(ModelSettings(model=str(tmp_path)))
    asked = requests(1)
    compared = 0
    for row, request in zip(
        sampled(teacher, asked, spec(0, max_tokens=24)).iter_rows(named=True), asked, strict=True
    ):
        for cut in range(0, min(12, len(row["token_ids"])), 3):
            prefix = row["text"].encode()[: row["token_ends"][cut - 1] if cut else 0].decode(errors="ignore")
            ids, _ = tokenizer.encode_response(prefix, ended=False)
            resumed = ContinueRequest("r", request.question_id, request.messages, 0, 5, prefix, 24 - len(ids))
            (frame,) = list(teacher.continue_([resumed], spec(0)))
            got = check(frame, SAMPLES, "transformers").row(0, named=True)
            assert got["text"].startswith(prefix)
            assert got["prefix_end"] == len(prefix.encode())
            assert len(got["token_ids"]) == len(got["logprobs"]) == len(got["token_ends"])
            assert got["token_ends"] == sorted(got["token_ends"])
            assert got["token_ends"][-1] == len(got["text"].encode())
            if ids == row["token_ids"][:cut]:
                compared += 1
                assert got["token_ids"] == row["token_ids"]
                assert got["text"] == row["text"]
                assert got["token_ends"] == row["token_ends"]
                assert got["logprobs"] == pytest.approx(row["logprobs"], abs=1e-4)
    assert compared >= 4


def test_continuations_of_different_lengths_in_one_batch(teacher: TransformersTeacher) -> None:
    prefixes = ["", "So", "Begin at 9. So 9 + 3 = 12.", "<think>Grüße 😀", "So"]
    asked = [
        ContinueRequest(f"{i}", "q", (Message("user", QUESTIONS[i % 2]),), 0, 50 + i, prefix)
        for i, prefix in enumerate(prefixes)
    ]
    together = pl.concat(list(teacher.continue_(asked, spec()))).sort("sample_id")
    alone = pl.concat([frame for request in asked for frame in teacher.continue_([request], spec())])
    assert together["token_ids"].equals(alone["token_ids"])
    for a, b, prefix in zip(together["logprobs"], alone["logprobs"], prefixes, strict=True):
        assert a.to_list() == pytest.approx(b.to_list(), abs=1e-4)
        assert prefix == "" or a[0] < 0, "tokens of the prefix have their own log-probabilities"


def test_a_prefix_that_unknown_characters_don_t_survive(tmp_path: Path) -> None:
    teacher = TransformersTeacher(save_llama(tmp_path, TOKENIZERS["characters"]()))
    request = ContinueRequest("r", "q", (Message("user", "9"),), 0, 5, "So \u0416 9")
    row = next(iter(teacher.continue_([request], spec(max_tokens=6)))).row(0, named=True)
    assert row["text"].startswith("So \u0416 9")
    assert row["token_ends"][:6] == [1, 2, 3, 5, 6, 7]


def test_scores_equal_the_logprobs_of_sampling(tmp_path: Path) -> None:
    # A token a character: sampled tokens are the canonical ones of their text, but for unknown ones.
    teacher = TransformersTeacher(save_llama(tmp_path, TOKENIZERS["characters"]()))
    asked = requests(12)
    samples = sampled(teacher, asked, spec(0.5, max_tokens=12))
    scores = pl.concat(list(teacher.score(score_requests(samples, asked), ScoringSpec("low", 200))))
    check(scores, SCORES, "transformers")
    assert sorted(scores["sample_id"]) == sorted(samples["sample_id"])
    compared = samples.join(scores, on="sample_id", suffix="_score")
    compared = compared.filter(pl.col("token_ids") == pl.col("token_ids_score"))
    assert compared.height >= 5
    for row in compared.iter_rows(named=True):
        assert row["token_ends"] == row["token_ends_score"]
        assert row["logprobs_score"] == pytest.approx(row["logprobs"], abs=1e-4)


def test_tokens_sampled_with_the_same_tokenizer_are_scored_as_they_are(tmp_path: Path) -> None:
    # A byte-level tokenizer with merges: at random, sampling rarely writes a text in its canonical tokens.
    teacher = TransformersTeacher(save_llama(tmp_path, byte_level()))
    asked = requests(12)
    samples = sampled(teacher, asked, spec(1.0, max_tokens=12))

    def scored(tokenizer_hash: str) -> pl.DataFrame:
        again = [
            replace(request, sampled=SampledTokens(row["token_ids"], row["token_ends"], tokenizer_hash))
            for request, row in zip(
                score_requests(samples, asked), samples.iter_rows(named=True), strict=True
            )
        ]
        rows = pl.concat(list(teacher.score(again, ScoringSpec("low", 200))))
        return samples.select("sample_id").join(rows, on="sample_id", maintain_order="left")

    same = scored(teacher.info.tokenizer_hash)
    assert same["token_ids"].to_list() == samples["token_ids"].to_list()
    assert same["token_ends"].to_list() == samples["token_ends"].to_list()
    for ours, theirs in zip(same["logprobs"], samples["logprobs"], strict=True):
        assert ours.to_list() == pytest.approx(theirs.to_list(), abs=1e-4)
    other = scored("of another tokenizer")
    assert other["token_ids"].to_list() != samples["token_ids"].to_list()


@pytest.mark.parametrize("budget", [16, 33, 64, 4096])
def test_chunks_and_batches_change_no_score(teacher: TransformersTeacher, budget: int) -> None:
    texts = ["Begin at 9. " * 12, "", "So", "Grüße 😀 " * 9, "That makes 7."]
    asked = [
        ScoreRequest(f"{i}", (Message("user", QUESTIONS[i % 4]),), text, i % 2 == 0)
        for i, text in enumerate(texts)
    ]
    scores = pl.concat(list(teacher.score(asked, ScoringSpec("low", budget)))).sort("sample_id")
    alone = pl.concat([f for request in asked for f in teacher.score([request], ScoringSpec("low", 4096))])
    assert scores["token_ids"].equals(alone["token_ids"])
    for got, wanted in zip(scores["logprobs"], alone["logprobs"], strict=True):
        assert got.to_list() == pytest.approx(wanted.to_list(), abs=1e-4)
    lengths = scores["logprobs"].list.len().to_list()
    assert lengths[1] == 0, "an empty text that isn't ended has nothing to score"
    assert min(lengths[0], *lengths[2:]) > 0


def test_a_text_over_the_context_names_the_sample(teacher: TransformersTeacher) -> None:
    request = ScoreRequest("s9", (Message("user", "4"),), "x y " * 200, True)
    with pytest.raises(BackendError, match=r"s9.*exceed the context.*\(256\)"):
        list(teacher.score([request], ScoringSpec("low", 4096)))


def test_memory_that_runs_out_halves_the_budget(settings: ModelSettings) -> None:
    teacher = TransformersTeacher(settings)
    texts = ["Begin at 9. " * 12, "So 9", "So 4", "That makes 7."]
    asked = [ScoreRequest(f"{i}", (Message("user", "4"),), text, True) for i, text in enumerate(texts)]
    wanted = pl.concat(list(teacher.score(asked, ScoringSpec("low", 4096)))).sort("sample_id")
    sizes: list[int] = []
    limit = 100

    def full(_: object, __: object, arguments: dict[str, torch.Tensor]) -> None:
        sizes.append(arguments["input_ids"].numel())
        if sizes[-1] > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")

    teacher._model.base_model.register_forward_pre_hook(full, with_kwargs=True)
    got = pl.concat(list(teacher.score(asked, ScoringSpec("low", 4096)))).sort("sample_id")
    assert max(sizes) > limit
    for ours, theirs in zip(got["logprobs"], wanted["logprobs"], strict=True):
        assert ours.to_list() == pytest.approx(theirs.to_list(), abs=1e-4)
    sizes.clear()
    list(teacher.score(asked, ScoringSpec("low", 4096)))
    assert max(sizes) <= limit, "the budget that fits is remembered"
    limit = 3
    with pytest.raises(BackendError, match="sample 0: memory runs out"):
        list(teacher.score(asked, ScoringSpec("low", 4096)))
    with pytest.raises(BackendError, match="lower batch_size"):
        list(teacher.sample(requests(), spec()))


def test_info_and_close(settings: ModelSettings) -> None:
    teacher = TransformersTeacher(settings)
    info = teacher.info
    assert info.model == settings.model
    assert len(info.model_revision) == 32
    assert info.tokenizer_hash == ChatTokenizer.load(settings).hash
    assert (info.engine, info.logprobs_mode, info.context_length) == ("transformers", "raw", 256)
    teacher.close()


def test_no_requests_no_rows(teacher: TransformersTeacher) -> None:
    assert list(teacher.sample([], spec())) == []
    assert list(teacher.continue_([], spec())) == []
    assert list(teacher.score([], ScoringSpec("low", 100))) == []


def test_weights_that_are_not_finite_are_told(tmp_path: Path) -> None:
    settings = save_llama(tmp_path, metaspace())
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    model.lm_head.weight.data[5] = float("nan")
    model.save_pretrained(tmp_path)
    with pytest.raises(
        BackendError, match="sample 0/0: the model's probabilities are not numbers at token 1"
    ):
        list(TransformersTeacher(settings).sample(requests(1)[:1], spec()))


def test_a_device_that_isn_t_there(settings: ModelSettings) -> None:
    for device in ("cuda:99", "tpu", "meta"):
        with pytest.raises(InputError, match=f"device '{device}'"):
            TransformersTeacher(settings.model_copy(update={"device": device}))
