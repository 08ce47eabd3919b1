"""A model with gpt-oss's vocabulary behind the backend: sampled, continued and scored in raw harmony tokens."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
import torch
from tests.real_tokenizers import HARMONY_VOCABULARY, gpt_oss, harmony
from transformers import LlamaConfig, LlamaForCausalLM

from dasd.base.records import (
    ContinueRequest,
    Message,
    SampledTokens,
    SampleRequest,
    SamplingSpec,
    ScoreRequest,
    ScoringSpec,
)
from dasd.curation.filters.form import ToolCallFilter
from dasd.models.tokens.harmony import HarmonyTokenizer
from dasd.models.transformers.engine import TransformersTeacher
from dasd.recipe.model_settings import ModelSettings

MESSAGES = (Message("system", "You are a helpful assistant."), Message("user", "4 + 5?"))
SPEC = SamplingSpec("sample", 1.0, 1.0, 40)
MOVES = {
    "assistant": ["<|channel|>"],
    "<|channel|>": ["analysis", "final", "comment"],
    "analysis": ["<|message|>"],
    "final": ["<|message|>"],
    "comment": ["ary"],
    "ary": [" to"],
    " to": ["="],
    "=": ["functions"],
    "functions": ["<|message|>"],
    "<|message|>": ["Add", "9", "{}"],
    "Add": ["<|end|>"],
    "9": ["<|return|>"],
    "{}": ["<|call|>"],
    "<|end|>": ["<|start|>"],
    "<|start|>": ["assistant"],
}
"""What the model says behind each token, one with the chance of another; behind any other, anything."""


def raw(text: str) -> list[int]:
    """Tokens of a text in which control tokens are control tokens."""
    return list(gpt_oss().encode(text, add_special_tokens=False))


def speaker() -> LlamaForCausalLM:
    """A Llama with gpt-oss's vocabulary whose weights say ``MOVES``; its generation config ends at <|return|> alone."""
    config = LlamaConfig(
        vocab_size=HARMONY_VOCABULARY,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        eos_token_id=200002,
        pad_token_id=199999,
        bos_token_id=199998,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name:
                weight.zero_()
        for place, (token, behind) in enumerate(MOVES.items()):
            model.model.embed_tokens.weight[raw(token)[0], place] = 1.0
            for following in behind:
                model.lm_head.weight[raw(following)[0], place] = 8.0
    return model


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    harmony()
    directory = tmp_path_factory.mktemp("gpt-oss")
    speaker().save_pretrained(directory)
    gpt_oss().save_pretrained(directory)
    return ModelSettings(model=str(directory), precision="fp32", device="cpu", batch_size=64)


@pytest.fixture(scope="module")
def teacher(settings: ModelSettings) -> TransformersTeacher:
    return TransformersTeacher(settings)


def test_load_recognises_harmony_without_a_template(
    settings: ModelSettings, teacher: TransformersTeacher
) -> None:
    config = json.loads((Path(settings.model) / "tokenizer_config.json").read_text())
    assert "chat_template" not in config
    loaded = teacher._tokenizer
    assert isinstance(loaded, HarmonyTokenizer)
    assert loaded.hash == harmony().hash
    assert loaded.prompt_ids(MESSAGES) == harmony().prompt_ids(MESSAGES)


def check(rows: pl.DataFrame) -> None:
    for row in rows.iter_rows(named=True):
        ids = row["token_ids"]
        ended = row["finish_reason"] == "stop"
        assert len(ids) == len(row["token_ends"]) == len(row["logprobs"])
        assert row["token_ends"] == sorted(row["token_ends"])
        assert row["token_ends"][-1] == len(row["text"].encode())
        assert ended == (ids[-1] in harmony().end_ids)
        assert harmony().decode(ids[:-1] if ended else ids) == row["text"]


def test_samples_end_where_harmony_ends_and_read_as_what_they_are(teacher: TransformersTeacher) -> None:
    requests = [SampleRequest(f"s{n}", "q", MESSAGES, n, n) for n in range(128)]
    sampled = pl.concat(teacher.sample(requests, SPEC))
    check(sampled)
    stops = sampled.filter(pl.col("finish_reason") == "stop")
    assert stops["token_ids"].list.last().value_counts().height == 2, "both <|return|> and <|call|> are drawn"
    begun = raw("<|channel|>analysis<|message|>Add<|end|><|start|>assistant<|channel|>final<|message|>")
    texts = [
        text for text, ids in sampled.select("text", "token_ids").iter_rows() if ids[: len(begun)] == begun
    ]
    assert texts
    assert all(text.startswith("<think>\nAdd\n</think>\n") for text in texts)
    called = sampled.filter(pl.col("text").str.contains("<tool_call>functions", literal=True))
    assert called.height
    assert not ToolCallFilter().judge(called)["kept"].any()

    asked = [
        ScoreRequest(
            row["sample_id"],
            MESSAGES,
            row["text"],
            row["finish_reason"] == "stop",
            SampledTokens(row["token_ids"], row["token_ends"], row["tokenizer_hash"]),
        )
        for row in sampled.iter_rows(named=True)
    ]
    scores = pl.concat(teacher.score(asked, ScoringSpec("score", 2048))).sort("sample_id")
    ordered = sampled.sort("sample_id")
    assert scores["token_ids"].to_list() == ordered["token_ids"].to_list()
    for scored, drawn in zip(scores["logprobs"], ordered["logprobs"], strict=True):
        assert (scored - drawn).abs().max() < 1e-4


def test_a_continuation_goes_on_inside_its_channel(teacher: TransformersTeacher) -> None:
    prefixes = ["<think>\nAdd", "<think>\nAdd 4 and 5.\n</think>\n\nIt is 9", "<think>Add 😀"]
    requests = [ContinueRequest(f"c{n}", "q", MESSAGES, 0, n, text) for n, text in enumerate(prefixes)]
    rows = pl.concat(teacher.continue_(requests, SPEC)).sort("sample_id")
    for row, prefix in zip(rows.iter_rows(named=True), prefixes, strict=True):
        wanted, ends = harmony().encode_response(prefix, ended=False)
        assert row["text"].startswith(prefix)
        assert row["token_ids"][: len(wanted)] == wanted
        assert row["token_ends"][: len(wanted)] == ends
        assert row["prefix_end"] == len(prefix.encode())
        assert row["token_ends"] == sorted(row["token_ends"])
        assert row["token_ends"][-1] == len(row["text"].encode())
        assert len(row["token_ids"]) == len(row["logprobs"])
    analysis, final, _ = rows["text"]
    assert analysis.startswith("<think>\nAdd\n</think>\n"), "the model ended its reasoning behind the prefix"
    assert rows["token_ids"][0][3:7].to_list() == raw("Add<|end|><|start|>assistant")
    assert final.startswith(prefixes[1])
