"""Parts of the backend ``transformers``: draws, the growing cache, models that aren't body and head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.tiny_models import byte_level, save_llama
from transformers import (
    AutoModelForCausalLM,
    DynamicCache,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from dasd.errors import InputError
from dasd.models.transformers.builtin import TransformersOptions
from dasd.models.transformers.cache import new_cache
from dasd.models.transformers.decoding import Row, decode
from dasd.models.transformers.draws import Uniforms, draw
from dasd.models.transformers.forward import Forward
from dasd.models.transformers.likeliest import Likeliest
from dasd.models.transformers.loading import load_model

torch.set_num_threads(1)
DRAWS = 20_000


def _shares(probabilities: list[float], temperature: float, top_p: float) -> np.ndarray:
    logprobs = torch.tensor([probabilities]).log().expand(DRAWS, -1)
    numbers = torch.from_numpy(np.random.default_rng(0).random(DRAWS))
    drawn = draw(logprobs, temperature, top_p, numbers)
    return np.bincount(drawn.numpy(), minlength=len(probabilities)) / DRAWS


def test_draws_follow_the_tempered_distribution() -> None:
    assert _shares([0.5, 0.0, 0.3, 0.2], 1.0, 1.0) == pytest.approx([0.5, 0, 0.3, 0.2], abs=0.012)
    squares = np.array([0.25, 0, 0.09, 0.04]) / 0.38
    assert _shares([0.5, 0.0, 0.3, 0.2], 0.5, 1.0) == pytest.approx(squares, abs=0.012)


@pytest.mark.parametrize(
    ("top_p", "wanted"),
    [(0.1, [0, 1, 0, 0]), (0.5, [0, 1, 0, 0]), (0.51, [0, 0.625, 0.375, 0]), (0.95, [0.2, 0.5, 0.3, 0])],
)
def test_top_p_keeps_the_smallest_set_with_that_mass(top_p: float, wanted: list[float]) -> None:
    assert _shares([0.2, 0.5, 0.3, 0.0], 1.0, top_p) == pytest.approx(wanted, abs=0.015)


def test_top_p_looks_at_tempered_probabilities() -> None:
    # At temperature 0.5 the first token holds 0.25 / 0.38 = 0.66 of the mass.
    assert _shares([0.5, 0.3, 0.2], 0.5, 0.6) == pytest.approx([1, 0, 0])
    assert _shares([0.5, 0.3, 0.2], 1.0, 0.6) == pytest.approx([0.625, 0.375, 0], abs=0.015)


@pytest.mark.parametrize("top_p", [0.9, 1.0])
def test_extreme_uniforms_draw_possible_tokens(top_p: float) -> None:
    logprobs = torch.tensor([[0.0, 0.6, 0.4, 0.0]]).log().expand(2, -1)
    numbers = torch.tensor([0.0, np.nextafter(1.0, 0.0)], dtype=torch.float64)
    assert draw(logprobs, 1.0, top_p, numbers).tolist() == [1, 2]


def test_greedy_needs_no_numbers() -> None:
    assert draw(torch.tensor([[0.2, 0.7, 0.1], [0.6, 0.3, 0.1]]).log(), 0, 1.0, None).tolist() == [1, 0]


def test_uniforms_are_a_row_s_own() -> None:
    both, second = Uniforms([3, 4]), Uniforms([4])
    for step in range(150):
        rows = [0, 1] if step < 70 else [1]
        assert both.step(step, rows)[-1] == second.step(step, [0])[0]


SMALL: dict[str, int] = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def _llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SMALL, initializer_range=0.3)).eval()


def test_the_growing_cache_is_transformers_cache() -> None:
    model = _llama()
    ours, theirs = new_cache(model.config), DynamicCache(config=model.config)
    ids = torch.randint(0, 50, (3, 7))
    with torch.inference_mode():
        for step in range(80):
            got = model(ids, past_key_values=ours).logits
            wanted = model(ids, past_key_values=theirs).logits
            assert torch.allclose(got, wanted, atol=1e-5)
            if step == 30:
                rows = torch.tensor([2, 0, 2])
                ours.batch_select_indices(rows)
                theirs.batch_select_indices(rows)
            ids = torch.randint(0, 50, (3, 1))
    assert ours.get_seq_length() == theirs.get_seq_length() == 86


def _gemma() -> Gemma2ForCausalLM:
    """Soft-capped logits between head and result, and layers with a sliding window."""
    torch.manual_seed(0)
    config = Gemma2Config(
        **SMALL,
        head_dim=8,
        initializer_range=0.5,
        sliding_window=8,
        final_logit_softcapping=5.0,
    )
    return Gemma2ForCausalLM(config).eval()


def _gpt2() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=50, n_embd=32, n_layer=2, n_head=4, initializer_range=0.3)
    ).eval()


@pytest.mark.parametrize("make", [_llama, _gemma, _gpt2])
@pytest.mark.parametrize("budget", [4, 12, 1000])
def test_prefill_equals_the_model(make, budget: int) -> None:  # type: ignore[no-untyped-def]
    model = make()
    forward = Forward(model)
    ids = torch.randint(0, 50, (1, 30))
    wanted = torch.zeros(1, 30, dtype=torch.bool)
    wanted[0, 9:] = True
    likeliest = Likeliest(21, 5)
    got, features = forward.prefill(ids, wanted, budget, None, likeliest=likeliest)
    with torch.inference_mode():
        logits = model(ids).logits
    exact = torch.log_softmax(logits[0, 8:-1], -1).gather(-1, ids[0, 9:, None])[:, 0]
    assert torch.allclose(got[0, 9:], exact, atol=1e-4)
    highest = torch.log_softmax(logits[0, 8:-1], -1).topk(5, -1)
    assert torch.allclose(torch.from_numpy(likeliest.logprobs), highest.values, atol=1e-4)
    assert likeliest.ids.tolist() == highest.indices.tolist()
    assert torch.equal(got[0, :9], torch.zeros(9))
    assert torch.allclose(forward.logits(features), logits[:, -1], atol=1e-4)


@pytest.mark.parametrize("make", [_llama, _gemma, _gpt2])
def test_decoding_padded_rows_equals_plain_greedy(make) -> None:  # type: ignore[no-untyped-def]
    model = make()
    prompts = [tuple(torch.randint(0, 50, (n,)).tolist()) for n in (4, 9, 21, 9)]
    prompts.append(prompts[1])
    rows = [Row(str(i), prompt, 0, 12 + i, i) for i, prompt in enumerate(prompts)]
    found = decode(model, Forward(model), rows, frozenset({7}), 0, 1.0, 40)
    for row, result in zip(rows, found, strict=True):
        ids = list(row.ids)
        with torch.inference_mode():
            for token, logprob in zip(result.token_ids, result.logprobs, strict=True):
                logprobs = torch.log_softmax(model(torch.tensor([ids])).logits[0, -1], -1)
                assert int(logprobs.argmax()) == token
                assert logprob == pytest.approx(float(logprobs[token]), abs=1e-4)
                ids.append(token)
        assert result.stopped == (result.token_ids[-1] == 7)
        assert result.stopped or len(result.token_ids) == row.limit


def test_rows_share_a_prefill_though_their_prefixes_differ() -> None:
    model = _llama()
    ids = tuple(range(3, 13))
    rows = [Row("a", ids, 0, 3, 1), Row("b", ids, 6, 3, 1)]
    first, second = decode(model, Forward(model), rows, frozenset(), 1.0, 1.0, 100)
    assert first.token_ids == second.token_ids
    assert first.prefix_logprobs == []
    assert len(second.prefix_logprobs) == 6
    assert max(second.prefix_logprobs) < 0


def test_weights_that_are_missing_are_refused(tmp_path: Path) -> None:
    settings = save_llama(tmp_path, byte_level())
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    state = {name: value for name, value in model.state_dict().items() if "layers.1.mlp" not in name}
    model.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(InputError, match=r"lack 3 weights, e.g. model\.layers\.1\.mlp"):
        load_model(settings, TransformersOptions())


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    settings = save_llama(tmp_path, byte_level())
    (tmp_path / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(InputError, match="can't be read as safetensors"):
        load_model(settings, TransformersOptions())
