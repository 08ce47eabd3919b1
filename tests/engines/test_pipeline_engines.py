"""``dasd pipeline demo --plugins vllm,deepspeed``, the command that users type, at a size for every test run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import polars as pl
import pytest
from tests.engines.conftest import Commands

import dasd

STAGES = (
    "{name: low, kind: off-policy, temperature: 0.6}",
    "{name: high, kind: off-policy, temperature: 1.0}",
    "{name: mixed, kind: mixed-policy, cap: 1.0, questions: 32}",
    "{name: own, kind: on-policy, rounds: 1, questions: 16, loss: sampled-reverse-kl}",
)
"""Those of the demo, and one of the kind that it lacks."""
SMALL = (
    "questions.train.0.count=32",
    "questions.eval.0.count=12",
    "sampling.candidates=2",
    "sampling.chunk=64",
    f"stages=[{', '.join(STAGES)}]",
    "trainer.epochs=1",
    "evaluation.attempts=1",
    "evaluation.heldout=12",
)
"""Overrides of the demo recipe: what is left of the time are the starts of the engines."""


def command(directory: Path) -> list[str]:
    options = [part for override in SMALL for part in ("-o", override)]
    plugins = ("--plugins", "vllm,deepspeed")
    return [sys.executable, "-m", "dasd", "pipeline", "demo", *plugins, "--run", str(directory), *options]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, commands: Commands) -> Path:
    """A finished run."""
    directory = tmp_path_factory.mktemp("runs") / "engines"
    done = commands.run(command(directory))
    assert done.returncode == 0, done.stderr
    return directory


def manifests(run: Path) -> dict[str, str]:
    return {path.parent.name: path.read_text() for path in (run / "stages").glob("*/manifest.json")}


def test_it_measures_before_and_after_every_stage(run: Path) -> None:
    metrics = dasd.Run.open(run).frame("metrics").collect()
    assert {"before", "low", "high", "mixed", "own"} <= set(metrics["checkpoint"])
    report = json.loads((run / "report.json").read_text())
    shown = json.dumps(report)
    assert all(f'"{name}"' in shown for name in ("before", "low", "high", "mixed", "own"))


def test_samples_are_those_of_the_engine(run: Path) -> None:
    opened = dasd.Run.open(run)
    samples = opened.frame("samples").collect()
    assert set(samples["engine"]) == {"vllm"}
    assert set(samples["logprobs_mode"]) == {"raw"}
    drawn = samples.filter(pl.col("stage").is_in(["sample-low", "sample-high"]))
    assert drawn.height == 2 * 32 * 2
    assert drawn["sample_id"].n_unique() == drawn.height
    assert opened.frame("scores").collect().height > 0


def test_the_engine_trained_every_stage(run: Path) -> None:
    settings = {
        name.split("-", 1)[1]: json.loads(text)["settings"]
        for name, text in manifests(run).items()
        if "-train-" in name
    }
    assert set(settings) == {"train-low", "train-high", "train-mixed", "train-own"}
    assert "dasd-deepspeed" in json.dumps(settings["train-low"])
    losses = dasd.Run.open(run).frame("losses").collect()
    assert {"train-low", "train-high"} <= set(losses["stage"]) or {"low", "high"} <= set(losses["stage"])
    assert losses["loss"].is_finite().all()
    own = dasd.Run.open(run).frame("on_policy_losses").collect()
    assert own["kl_from_start"][0] == pytest.approx(0, abs=0.02), "vLLM's log-probabilities are the trainer's"


def test_checkpoints_load_and_differ(run: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from dasd.models.files import resolve_model

    before = AutoModelForCausalLM.from_pretrained(resolve_model("dasd:mini-student")).state_dict()
    for stage in (1, 2, 3, 4):
        directory = run / "checkpoints" / f"stage{stage}"
        after = AutoModelForCausalLM.from_pretrained(directory).state_dict()
        AutoTokenizer.from_pretrained(directory)
        assert after.keys() == before.keys()
        assert any(not torch.equal(after[name].float(), before[name].float()) for name in after)
        before = after


def test_a_second_start_does_nothing(run: Path, commands: Commands) -> None:
    first = manifests(run)
    again = commands.run(command(run))
    assert again.returncode == 0, again.stderr
    assert manifests(run) == first


def test_no_process_is_left_behind(run: Path, commands: Commands) -> None:
    assert commands.left_behind() == []
