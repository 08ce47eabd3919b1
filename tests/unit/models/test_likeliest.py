"""The likeliest tokens of each position that the backend ``transformers`` scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from tests.tiny_models import byte_level, save_llama
from transformers import AutoModelForCausalLM

from dasd.base.records import Message, ScoreRequest, ScoringSpec
from dasd.base.schemas import TOP_SCORES, check
from dasd.models.tokens.chat import ChatTokenizer
from dasd.models.transformers import forward
from dasd.models.transformers.engine import TransformersTeacher
from dasd.models.transformers.likeliest import highest
from dasd.recipe.model_settings import ModelSettings

torch.set_num_threads(1)
ASKED = [
    ScoreRequest(f"{i}", (Message("user", f"{i} and 4?"),), text, ended=i % 2 == 0)
    for i, text in enumerate(["Begin at 9. " * 12, "", "So", "Grüße 😀 " * 9, "That makes 7."])
]
SPEC = ScoringSpec("low", 4096, top=8)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    return save_llama(tmp_path_factory.mktemp("model"), byte_level())


@pytest.fixture(scope="module")
def teacher(settings: ModelSettings) -> TransformersTeacher:
    return TransformersTeacher(settings)


def scored(teacher: TransformersTeacher, spec: ScoringSpec) -> pl.DataFrame:
    return pl.concat(teacher.score(ASKED, spec)).sort("sample_id")


def logprobs_of(settings: ModelSettings, row: dict[str, list[int]], request: ScoreRequest) -> torch.Tensor:
    """Plainly, one sequence at a time, by transformers itself."""
    model = AutoModelForCausalLM.from_pretrained(settings.model, dtype=torch.float32)
    prompt = ChatTokenizer.load(settings).prompt_ids(request.messages)
    with torch.inference_mode():
        logits = model(torch.tensor([prompt + row["token_ids"]])).logits[0, len(prompt) - 1 : -1]
    return torch.log_softmax(logits, -1)


def test_they_are_those_of_the_model_and_change_no_score(
    settings: ModelSettings, teacher: TransformersTeacher
) -> None:
    rows = check(scored(teacher, SPEC), TOP_SCORES, "transformers")
    assert rows.drop("top_ids", "top_logprobs").equals(scored(teacher, replace(SPEC, top=0)))
    for row, request in zip(rows.to_dicts(), ASKED, strict=True):
        wanted = logprobs_of(settings, row, request).sort(dim=-1, descending=True, stable=True)
        got = torch.tensor(row["top_logprobs"]).view(-1, 8)
        assert got.shape[0] == len(row["token_ids"])
        assert torch.allclose(got, wanted.values[:, :8], atol=1e-4)
        assert row["top_ids"] == wanted.indices[:, :8].flatten().tolist()
    assert rows["top_ids"].list.len()[1] == 0, "a text without tokens has none"


def test_more_than_the_vocabulary_are_the_vocabulary(teacher: TransformersTeacher) -> None:
    rows = scored(teacher, replace(SPEC, top=10**6))
    tokens = rows["token_ids"].list.len()
    vocabulary = teacher._forward.vocabulary
    assert (rows["top_ids"].list.len() == tokens * vocabulary).all()
    ids = rows["top_ids"].explode().drop_nulls().to_numpy().reshape(-1, vocabulary)
    assert (np.sort(ids) == np.arange(vocabulary)).all()
    sums = np.exp(rows["top_logprobs"].explode().drop_nulls().to_numpy().reshape(-1, vocabulary)).sum(-1)
    assert sums == pytest.approx(np.ones(len(sums)), abs=1e-4)


@pytest.mark.parametrize("budget", [16, 64])
def test_chunks_and_batches_change_none(teacher: TransformersTeacher, budget: int) -> None:
    whole, parts = scored(teacher, SPEC), scored(teacher, replace(SPEC, token_budget=budget))
    assert parts["top_ids"].equals(whole["top_ids"])
    for got, wanted in zip(parts["top_logprobs"], whole["top_logprobs"], strict=True):
        assert got.to_list() == pytest.approx(wanted.to_list(), abs=1e-4)


def test_logits_are_made_by_blocks(teacher: TransformersTeacher, monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = teacher._forward.vocabulary
    sizes: list[int] = []

    def watched(logits: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        sizes.append(logits.numel())
        return highest(logits, k)

    wanted = scored(teacher, SPEC)
    monkeypatch.setattr(forward, "LOGIT_BLOCK", 7 * vocabulary)
    monkeypatch.setattr("dasd.models.transformers.likeliest.highest", watched)
    assert scored(teacher, SPEC)["top_ids"].equals(wanted["top_ids"])
    assert max(sizes) == 7 * vocabulary
    assert sum(sizes) == sum(wanted["token_ids"].list.len()) * vocabulary


def test_of_equal_ones_the_lower_id_comes_first() -> None:
    generator = torch.Generator().manual_seed(0)
    for vocabulary in (1, 2, 7, 300):
        for k in {1, min(2, vocabulary), max(1, vocabulary - 1), vocabulary}:
            for step in (4.0, 1.0, 0.01):
                logits = (torch.randn(40, vocabulary, generator=generator) * 3 / step).round() * step
                logits[3] = float("-inf")
                logits[4, : vocabulary // 2] = float("-inf")
                wanted = logits.sort(dim=-1, descending=True, stable=True)
                values, ids = highest(logits, k)
                assert torch.equal(values, wanted.values[:, :k])
                assert torch.equal(ids, wanted.indices[:, :k])
