"""Parts of ``dasd.pipeline.plan`` against what they stand for: the trainer's plan, the run's own rendering."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from dasd.base.records import Message
from dasd.base.seeds import seed_of
from dasd.models.miniature import model_path
from dasd.models.tokens.chat import ChatTokenizer
from dasd.pipeline.plan.amounts import at_most, scaled, times, total, with_balance
from dasd.pipeline.plan.lengths import Lengths
from dasd.pipeline.plan.measured import Measured
from dasd.pipeline.plan.models import read_facts
from dasd.pipeline.plan.prompts import PromptFiles
from dasd.pipeline.plan.records import NONE, UNKNOWN, Amount, Given
from dasd.pipeline.plan.steps import exact_training, expected_training
from dasd.plugins.recipe import Recipe
from dasd.recipe.model_settings import ModelSettings
from dasd.recipe.training_settings import TrainerSettings
from dasd.training.plan import plan_training


@given(
    lengths=st.lists(st.integers(1, 100), min_size=1, max_size=300),
    capacity=st.sampled_from([100, 150, 333, 1000]),
    epochs=st.sampled_from([0.3, 1.0, 1.5, 3.0]),
    batch=st.integers(1, 9),
    packing=st.booleans(),
    max_steps=st.sampled_from([None, 1, 7]),
)
def test_steps_and_tokens_stay_below_their_bounds(
    lengths: list[int], capacity: int, epochs: float, batch: int, packing: bool, max_steps: int | None
) -> None:
    settings = TrainerSettings(
        max_length=capacity, epochs=epochs, batch_size=batch, packing=packing, max_steps=max_steps
    )
    rows = np.array(lengths, dtype=np.int64)
    seed = seed_of(3, "train-x") % 2**32
    plan = plan_training(rows, settings, seed)
    exact = exact_training(rows, settings, 3, "train-x")
    assert exact.steps == Amount.exactly(plan.steps)
    assert exact.tokens == Amount.exactly(int(rows[plan.rows_R].sum()))
    bound = expected_training(Amount.exactly(len(rows)), float(rows.mean()), max(lengths), settings)
    assert bound.steps.most is not None and bound.steps.most >= plan.steps
    assert exact.row_tokens == Amount.exactly(int(rows.sum()))
    assert bound.row_tokens.most is not None and bound.row_tokens.most >= rows.sum()
    if max_steps is None and epochs == int(epochs):
        assert bound.tokens.most is not None and exact.tokens.expected is not None
        assert bound.tokens.most >= exact.tokens.expected
        assert bound.tokens.expected == pytest.approx(exact.tokens.expected, abs=1)


@pytest.mark.parametrize("mean", [70, 280, 470])
def test_expected_steps_are_near_those_of_rows_whose_lengths_spread(mean: int) -> None:
    rows = np.random.default_rng(0).gamma(3.0, mean / 3.0, 4000).clip(1, 1024).astype(np.int64)
    settings = TrainerSettings(max_length=1024, epochs=3, batch_size=8)
    said = expected_training(Amount.exactly(4000), float(rows.mean()), 1024, settings).steps.expected
    did = plan_training(rows, settings, 0).steps
    assert said == pytest.approx(did, rel=0.05)


CONVERSATIONS = (
    (Message("user", "4+5-1="),),
    (Message("system", "Be brief."), Message("user", "4+5-1=")),
    (Message("user", "1+1="), Message("assistant", "2"), Message("user", "7+2=")),
)


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_prompts_are_counted_as_the_run_renders_them(role: str) -> None:
    files = PromptFiles(model_path(role))
    chat = ChatTokenizer.load(ModelSettings(model=f"dasd:mini-{role}"))
    assert files.prompts_tokens(CONVERSATIONS) == [len(ids) for ids in chat.prompts_ids(CONVERSATIONS)]


def test_vocabularies_are_told_apart() -> None:
    teacher, again = PromptFiles(model_path("teacher")), PromptFiles(model_path("teacher"))
    assert teacher.vocabulary == again.vocabulary != PromptFiles(model_path("student")).vocabulary


def test_a_tokenizer_of_another_kind_is_not_an_error_here(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        PromptFiles(tmp_path)


def test_active_parameters_of_a_mixture_of_experts(tmp_path: Path) -> None:
    sizes = {"model.embed_tokens.weight": 100, "model.layers.0.mlp.experts.gate_up_proj": 8 * 40}
    save_file({name: np.zeros(n) for name, n in sizes.items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(
        json.dumps({"num_local_experts": 8, "num_experts_per_tok": 2, "text_config": {"n_positions": 77}})
    )
    facts = read_facts(tmp_path)
    assert (facts.parameters, facts.active_parameters) == (420, 100 + 2 * 40)
    assert facts.context_length == 77 and facts.architecture is None


def test_amounts_keep_what_is_unknown() -> None:
    some = Amount(10, 12)
    assert times(Amount.exactly(3), 4) == Amount.exactly(12)
    assert times(UNKNOWN, 4) == UNKNOWN
    assert scaled(some, 2.5, 3) == Amount(25, 36)
    assert scaled(some, 100, 3) == Amount(36, 36)
    assert scaled(UNKNOWN, 2.5, 3) == UNKNOWN
    assert scaled(some, 2.5, None) == Amount(25, None)
    assert at_most(some, 11) == Amount(10, 11)
    assert at_most(UNKNOWN, 11) == Amount(None, 11)
    assert total(some, NONE) == some
    assert total(some, UNKNOWN) == UNKNOWN
    assert with_balance(10, 15, 2.0) == 25 and with_balance(None, 15, 2.0) is None


def test_lengths_say_what_they_assume() -> None:
    settings = Recipe.load("demo").settings
    contexts = {"teacher": 512, "student": 100}
    assumed = Lengths(settings, Given(), Measured(), contexts, {"teacher": None, "student": None}, None)
    assert assumed.response("sample-low") == 80 and not assumed.certain
    assert assumed.cap("student", 160) == 100
    assert any("half of the cap" in text for text in assumed.assumptions)
    told = Lengths(
        settings, Given(response_tokens=30), Measured(), contexts, {"teacher": None, "student": None}, True
    )
    assert told.response("sample-low") == told.response_of_student("sample-low") == 30 and told.certain
    assert told.longest_of_student(settings.trainer) == 160
    assert not any("half of the cap" in text for text in told.assumptions)
