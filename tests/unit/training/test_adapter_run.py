"""A run whose first training has an adapter and whose second trains all weights: what it keeps, says and exports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file
from tests.stage_run import make_recipe, make_registry

from dasd.base.progress import Console
from dasd.base.seeds import digest
from dasd.errors import PluginError, RecipeError
from dasd.pipeline.compatibility import check_recipe
from dasd.pipeline.plan.disk_and_memory import plan_memory, trained_parameters
from dasd.pipeline.plan.records import ModelPlan
from dasd.pipeline.runner import Pipeline
from dasd.pipeline.work import fingerprints
from dasd.plugins.host import PluginHost
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry
from dasd.recipe.model_settings import ModelSettings
from dasd.recipe.training_settings import TrainerSettings
from dasd.results.cards import model_card
from dasd.results.cards.contents import model_files
from dasd.results.export import export_run
from dasd.results.report import gather
from dasd.results.report.numbers import short
from dasd.store import Run
from dasd.training.torch import builtin as trainers

pytest.importorskip("peft")

TRAINER: dict[str, Any] = {
    "trainer": "torch",
    "max_steps": 2,
    "batch_size": 2,
    "precision": "fp32",
    "device": "cpu",
    "learning_rate": 1e-2,
}
LORA: dict[str, Any] = {"adapter": "lora", "lora": {"rank": 4, "targets": ["q_proj", "v_proj"]}}
STAGES = [
    {"name": "low", "kind": "off-policy", "temperature": 0.6, "trainer": LORA},
    {"name": "high", "kind": "off-policy", "temperature": 1.0},
]


def registry() -> Registry:
    made = make_registry()
    trainers.dasd_register(made)
    return made


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    recipe = make_recipe(trainer=TRAINER, stages=STAGES)
    place = tmp_path_factory.mktemp("adapter") / "run"
    return Pipeline(recipe, registry(), console=Console(quiet=True)).run(place, until="train-high")


def test_the_adapter_lies_beside_the_weights_and_stays_with_its_training(run: Run) -> None:
    low, high = (run.directory / "checkpoints" / f"stage{number}" for number in (1, 2))
    matrices = load_file(low / "adapter" / "adapter_model.safetensors")
    parameters = sum(tensor.numel() for tensor in matrices.values())
    assert run.summary("train-low")["adapter_parameters"] == parameters
    assert not (high / "adapter").exists()
    assert "adapter_parameters" not in run.summary("train-high")
    found = gather.trainings(run)
    assert found[0].trained == (
        f"LoRA of rank 4 (alpha 32) beside q_proj, v_proj: {short(parameters)} parameters"
    )
    assert found[1].trained == "all weights"


def test_the_card_says_it_and_the_adapter_is_sent(run: Run) -> None:
    low, high = (model_card(run, name).readme for name in ("low", "high"))
    assert "LoRA of rank 4 (alpha 32) beside q_proj, v_proj" in low
    assert 'subfolder="adapter"' in low and "training started from, `dasd:mini-student`" in low
    assert 'subfolder="adapter"' not in high
    pieces, left_out = model_files(run.directory / "checkpoints" / "stage1")
    sent = {piece.path: piece.content for piece in pieces}
    assert {"adapter/adapter_config.json", "adapter/adapter_model.safetensors"} <= sent.keys()
    config = sent["adapter/adapter_config.json"]
    assert isinstance(config, bytes)
    assert "/" not in json.loads(config)["base_model_name_or_path"]
    assert "adapter/" not in [item.path for item in left_out]


def test_exports_carry_it(tmp_path: Path, run: Run) -> None:
    host = PluginHost.load([], lambda _: None).registry
    place, manifest = export_run(run, "trl", tmp_path / "trl", registry=host)
    low, high = (yaml.safe_load((place / f"{name}.yaml").read_text()) for name in ("low", "high"))
    wanted = {
        "use_peft": True,
        "lora_r": 4,
        "lora_alpha": 32,
        "lora_dropout": 0.0,
        "lora_target_modules": ["q_proj", "v_proj"],
    }
    assert wanted.items() <= low.items()
    assert "use_peft" not in high
    assert high["model_name_or_path"] == "checkpoints/low-merged"
    assert [line.partition(" ")[0] for line in manifest.use[:3]] == ["trl", "python", "trl"]
    assert "'checkpoints/low'" in manifest.use[1]
    place, _ = export_run(run, "llamafactory", tmp_path / "factory", registry=host)
    low, high = (yaml.safe_load((place / f"{name}.yaml").read_text()) for name in ("low", "high"))
    wanted = {"finetuning_type": "lora", "lora_rank": 4, "lora_alpha": 32, "lora_target": "q_proj,v_proj"}
    assert wanted.items() <= low.items()
    assert high["finetuning_type"] == "full"


def test_a_single_target_is_written_so_that_trl_finds_it(tmp_path: Path) -> None:
    import re

    from dasd.results.export.formats.trl import _adapter

    written = _adapter(TrainerSettings(adapter="lora", lora={"targets": ["mlp.up_proj"]}))  # type: ignore[arg-type]
    (pattern,) = written["lora_target_modules"]  # type: ignore[misc]
    # As peft matches a text.
    assert re.fullmatch(str(pattern), "model.layers.0.mlp.up_proj")
    assert not re.fullmatch(str(pattern), "model.layers.0.mlp.down_proj")


def test_a_training_of_all_weights_is_the_one_it_was_before_there_were_adapters() -> None:
    plain = TrainerSettings(trainer="torch")
    found = fingerprints.trainer_settings(plain, registry())
    assert not {"adapter", "lora"} & found.keys()
    assert fingerprints.trainer_settings(plain.model_copy(update={"device": "cpu"}), registry()) == found
    adapted = TrainerSettings.model_validate({"adapter": "lora", "lora": {"rank": 4}})
    prints = {
        digest(str(fingerprints.trainer_settings(each, registry())))
        for each in (plain, adapted, TrainerSettings(adapter="lora"))
    }
    assert len(prints) == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trainer": {"optimizer": "muon", "adapter": "lora"}}, r"trainer\.adapter: wanted optimizer: adamw"),
        ({"trainer": {"lora": {"rank": 8}}}, r"trainer\.lora\.rank: wanted trainer\.adapter: lora with it"),
        ({"trainer": {"adapter": "lora", "lora": {"rank": 0}}}, r"trainer\.lora\.rank: wanted .*at least 1"),
        (
            {"trainer": {"adapter": "lora", "lora": {"rnk": 8}}},
            r"trainer\.lora\.rnk: unknown key; did you mean",
        ),
        ({"trainer": {"adapter": "dora"}}, r"trainer\.adapter: wanted 'lora'"),
        (
            {"stages": [{**STAGES[0], "trainer": {"lora": {"rank": 8}}}]},
            r"stages\.0\.trainer\.lora\.rank: wanted trainer\.adapter: lora with it",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused_with_its_path(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        make_recipe(**changes)


def test_a_stage_changes_single_keys_of_the_section() -> None:
    own = {**STAGES[0], "trainer": {"lora": {"alpha": 8}}}
    settings = make_recipe(trainer={**TRAINER, **LORA}, stages=[own, STAGES[1]]).settings
    low, high = (settings.trainer_for(stage).lora for stage in settings.stages)
    assert (low.rank, low.alpha, low.targets) == (4, 8, ("q_proj", "v_proj"))
    assert (high.rank, high.alpha) == (4, 32)


def test_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    made = PluginHost.load([], lambda _: None).registry
    base = Recipe.load("demo").settings.model_dump()
    base["trainer"] = {**TRAINER, **LORA}
    for stage in base["stages"]:
        stage["trainer"] = {}
    check_recipe(made, Recipe.load(base).settings)
    wrong = {**base, "stages": [{**STAGES[0], "trainer": {"lora": {"targets": ["q_prj"]}}}]}
    with pytest.raises(
        RecipeError, match=r"^stages\.0\.trainer\.lora\.targets: 'q_prj' .* did you mean 'q_proj'"
    ):
        check_recipe(made, Recipe.load(wrong).settings)
    made.trainer("narrow", lambda _: None)  # type: ignore[arg-type, return-value]
    wrong = {**base, "trainer": {**base["trainer"], "trainer": "narrow"}}
    with pytest.raises(RecipeError, match=r"^trainer\.adapter: trainer 'narrow' .* use one of .*torch"):
        check_recipe(made, Recipe.load(wrong).settings)
    monkeypatch.setattr("dasd.training.lora.find_spec", lambda _: None)
    with pytest.raises(PluginError, match=r"trainer\.adapter: lora needs .* pip install 'dasd\[lora\]'"):
        check_recipe(made, Recipe.load(base).settings)


def test_the_plan_counts_the_adapter() -> None:
    student = ModelSettings(model="dasd:mini-student")
    trainer = TrainerSettings.model_validate({**TRAINER, **LORA})
    trained = trained_parameters(trainer, student, 200_000)
    assert trained is not None and trained < 20_000
    settings = Recipe.load("demo").settings.model_copy(update={"trainer": trainer})
    model = ModelPlan("student", "dasd:mini-student", True, 200_000, 256, "here")
    needs, _ = plan_memory(settings, {"teacher": model, "student": model}, ("teacher", "student"))
    parts = next(need.parts for need in needs if "training" in need.what)
    assert parts == {
        "weights": 4 * 200_000,
        "gradients": 4 * trained,
        "optimiser": 8 * trained,
        "adapter": 4 * trained,
    }
    assert trained_parameters(TrainerSettings(), student, 200_000) == 200_000
