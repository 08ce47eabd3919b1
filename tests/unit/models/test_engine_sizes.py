"""What the built-in engine takes at a time: a rule of given numbers, no measurement."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import Qwen3Config, Qwen3MoeConfig

from dasd.base.progress import Console
from dasd.base.records import ModelInfo
from dasd.models.opened import Opened
from dasd.models.transformers.decoding import Row
from dasd.models.transformers.sizes import Footprint, Sizes
from dasd.recipe.model_settings import ModelSettings

GIB = 2**30
FOUR_B = Qwen3Config(
    vocab_size=151_936,
    hidden_size=2560,
    intermediate_size=9728,
    num_hidden_layers=36,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=128,
)


def choose(free: int | None, **settings: object) -> Sizes:
    device = "cpu" if free is None else "cuda:0"
    given = ModelSettings.model_validate({"model": "m", **settings})
    return Sizes.choose(given, device, free, Footprint.of(FOUR_B, 2))


def rows(*prompts: int, cap: int = 30_000) -> list[Row]:
    return [Row(f"s{i}", tuple(range(length)), 0, cap, i) for i, length in enumerate(prompts)]


def sizes_of(sizes: Sizes, asked: list[Row]) -> list[int]:
    batches = list(sizes.batches(asked, range(len(asked))))
    assert [index for batch in batches for index in batch] == list(range(len(asked)))
    return [len(batch) for batch in batches]


def test_the_footprint_of_a_model_by_its_config() -> None:
    footprint = Footprint.of(FOUR_B, 2)
    assert footprint.cache == 2 * 36 * 8 * 128 * 2
    assert footprint.activations == 2 * (2 * 2560 + 3 * 9728)
    assert footprint.logits == 32 * 151_936
    experts = Qwen3MoeConfig(
        hidden_size=2048, intermediate_size=64, num_attention_heads=2, head_dim=128,
        num_experts_per_tok=8, moe_intermediate_size=768,
    )  # fmt: skip
    assert Footprint.of(experts, 4).activations == 4 * (2 * 2048 + 3 * 8 * 768)
    assert Footprint.of(object(), 2).cache == 2 * 32 * 32 * 128 * 2, "a config that names nothing"


def test_a_cpu_takes_what_it_always_took() -> None:
    sizes = choose(None)
    assert (sizes.info.token_budget, sizes.info.batch_size, sizes.info.fitted) == (16_384, 32, False)
    assert sizes_of(sizes, rows(*[50] * 70)) == [32, 32, 6]
    assert str(sizes.info) == "on cpu: token_budget 16,384, batch_size 32"


@pytest.mark.parametrize(
    ("gib", "budget"),
    [
        (140, 131_072),
        (71, 131_072),
        (32, 65_536),
        (16, 32_768),
        (8, 16_384),
        (2, 2_048),
        (1, 1_024),
        (0, 1_024),
    ],
)
def test_the_token_budget_of_a_gpu_is_the_power_of_two_that_fits(gib: int, budget: int) -> None:
    sizes = choose(gib * GIB + 12_345)
    assert sizes.info.token_budget == budget
    a_token = 2 * (2 * 36 * 8 * 128 + 2 * 2560 + 3 * 9728)
    usable = gib * GIB * 4 // 5 - GIB
    assert budget == 1_024 or budget * a_token <= usable
    assert budget == 131_072 or 2 * budget * a_token > usable


def test_a_gpu_decodes_as_many_responses_as_fit() -> None:
    large = choose(71 * GIB)
    assert large.info.fitted
    assert str(large.info) == (
        "on cuda:0 with 71 GiB free: token_budget 131,072, batch_size what fits, at most 256"
    )
    assert sizes_of(large, rows(*[50] * 600, cap=40)) == [256, 256, 88]
    footprint = Footprint.of(FOUR_B, 2)
    usable = 71 * GIB * 4 // 5 - GIB
    (first, *_) = sizes_of(large, rows(*[2000] * 30))
    assert 1 < first < 30
    assert footprint.of_batch(first, 2000, 30_000, 131_072) <= usable
    assert footprint.of_batch(first + 1, 2000, 30_000, 131_072) > usable
    assert sizes_of(choose(GIB), rows(2000, 50)) == [1, 1], "what doesn't fit on paper is tried alone"


def test_the_recipe_wins() -> None:
    both = choose(4 * GIB, token_budget=100_000, batch_size=48)
    assert (both.info.token_budget, both.info.chosen, str(both.info)) == (100_000, (), "")
    assert sizes_of(both, rows(*[2000] * 50)) == [48, 2]
    one = choose(71 * GIB, batch_size=48)
    assert (one.info.token_budget, one.info.chosen) == (131_072, ("token_budget",))
    other = choose(71 * GIB, token_budget=512)
    assert (other.info.token_budget, other.info.batch_size, other.info.chosen) == (512, 256, ("batch_size",))


@given(st.lists(st.integers(1, 4000), min_size=1, max_size=60), st.integers(1, 24), st.data())
def test_what_is_left_is_batched_as_it_would_have_been(
    prompts: list[int], gib: int, data: st.DataObject
) -> None:
    asked = rows(*sorted(prompts, reverse=True), cap=2000)
    sizes = choose(gib * GIB)
    batches = list(sizes.batches(asked, range(len(asked))))
    behind = data.draw(st.integers(0, len(batches) - 1))
    left = [index for batch in batches[behind:] for index in batch]
    assert list(sizes.batches(asked, left)) == batches[behind:]


def test_a_choice_is_told_once_and_stands_in_the_events(capsys: pytest.CaptureFixture[str]) -> None:
    events: list[tuple[str, object]] = []
    opened = Opened(Console(), lambda kind, _, fields: events.append((kind, fields)))
    gpu = choose(71 * GIB, batch_size=4).info
    for sizes in (gpu, gpu, choose(None).info, choose(GIB, batch_size=4, token_budget=64).info, None):
        opened(ModelInfo("m", "r", "t", "transformers", "1", "raw", 99, sizes))
    assert capsys.readouterr().err == "m on cuda:0 with 71 GiB free: token_budget 131,072\n"
    assert events[0] == (
        "model_opened",
        {
            "model": "m",
            "engine": "transformers",
            "device": "cuda:0 with 71 GiB free",
            "token_budget": 131_072,
            "batch_size": 4,
            "chosen": ["token_budget"],
            "fitted": False,
        },
    )
    assert len(events) == 4
