"""Parts of ``dasd.pipeline.plan`` against what they stand for: the trainer's plan, the run's own rendering."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file
from tests.stage_run import make_recipe, make_registry

from dasd.base.seeds import seed_of
from dasd.pipeline.plan.amounts import at_most, scaled, times, total, with_balance
from dasd.pipeline.plan.lengths import Lengths
from dasd.pipeline.plan.measured import Measured
from dasd.pipeline.plan.models import read_facts
from dasd.pipeline.plan.records import NONE, UNKNOWN, Amount, Given
from dasd.pipeline.plan.steps import exact_training, expected_training
from dasd.pipeline.runner import Pipeline
from dasd.plugins.recipe import Recipe
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


def test_facts_of_a_models_files(tmp_path: Path) -> None:
    save_file({"a.weight": np.zeros((10, 10)), "b.weight": np.zeros(320)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"text_config": {"n_positions": 77}}))
    facts = read_facts(tmp_path)
    assert (facts.parameters, facts.context_length) == (420, 77)


def test_amounts_keep_what_is_unknown() -> None:
    some = Amount(10, 12)
    assert times(Amount.exactly(3), 4) == Amount.exactly(12)
    assert times(UNKNOWN, 4) == UNKNOWN
    assert scaled(some, 2.5, 3) == Amount(25, 36)
    assert scaled(some, 100, 3) == Amount(36, 36)
    assert scaled(UNKNOWN, 2.5, 3) == UNKNOWN
    assert scaled(some, 2.5, None) == Amount(25, None)
    assert scaled(some, None, 3) == Amount(None, 36)
    assert at_most(some, 11) == Amount(10, 11)
    assert at_most(UNKNOWN, 11) == Amount(None, 11)
    assert total(some, NONE) == some
    assert total(some, UNKNOWN) == UNKNOWN
    assert with_balance(10, 15, 2.0) == 25 and with_balance(None, 15, 2.0) is None


def test_lengths_say_what_they_rest_on() -> None:
    settings = Recipe.load("demo").settings
    contexts = {"teacher": 512, "student": 100}
    unknown = Lengths(settings, Given(), Measured(), contexts, {"teacher": None, "student": None}, None)
    assert unknown.response("sample-low") is None and unknown.answer() is None and unknown.mixed() is None
    assert unknown.cap("student", 160) == 100
    assert [text for text in unknown.assumptions if "isn't known" in text]
    told = Lengths(
        settings, Given(response_tokens=30), Measured(), contexts, {"teacher": None, "student": None}, True
    )
    assert told.response("sample-low") == told.response_of_student("sample-low") == 30
    assert told.longest_of_student(settings.trainer) == 160
    assert told.prompt() == 0.0 and any("prompts aren't counted" in text for text in told.assumptions)


def test_stages_say_which_frame_and_figure_stand_for_them(tmp_path: Path) -> None:
    made = Pipeline(make_recipe(), make_registry())
    run = made.run(tmp_path / "run", until="train")
    done = {manifest.name: manifest for manifest in run.stages()}
    looked_at = [stage for stage in made.stages if stage.name in done]
    assert {"questions", "sample", "filter", "dedup", "score", "select", "train"} <= {
        s.kind for s in looked_at
    }
    for stage in looked_at:
        assert done[stage.name].rows.get(stage.frame), stage.name
        assert stage.passes_on is None or isinstance(done[stage.name].summary[stage.passes_on], int), (
            stage.name
        )
    assert {stage.kind for stage in looked_at if stage.passes_on} >= {"sample", "select"}
