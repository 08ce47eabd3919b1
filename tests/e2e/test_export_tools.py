"""Exports in the hands of the tools that they are for: TRL and LLaMA-Factory, where these are installed.

Each tool reads its configuration and rows in a process of its own, as a user's would, and says what it made of them.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.stage_run import run_recipe

from dasd.models.files import resolve_model
from dasd.plugins.host import PluginHost
from dasd.results.export import export_run
from dasd.store import Run

TRL = """
import json, sys, torch
from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, SFTConfig, SFTTrainer, TrlParser, get_dataset

parser = TrlParser((ScriptArguments, SFTConfig, ModelConfig, DatasetMixtureConfig))
command = ["--config", "low.yaml", "--use_cpu", "true", "--max_steps", "2", "--attn_implementation", "sdpa"]
command += ["--save_strategy", "no", "--logging_steps", "1"]
_, arguments, model, data = parser.parse_args_and_config(command, fail_with_unknown_args=True)
arguments.model_init_kwargs = {"attn_implementation": model.attn_implementation, "dtype": model.dtype}
rows = get_dataset(data)["train"]
trainer = SFTTrainer(model=model.model_name_or_path, args=arguments, train_dataset=rows)
found = []
for pack in trainer.train_dataset:
    start = 0
    for length in pack["seq_lengths"]:
        found.append([pack["input_ids"][start : start + length], pack["labels"][start : start + length]])
        start += length
batch = next(iter(trainer.get_train_dataloader()))
student, worst = trainer.model.eval(), 0.0
with torch.no_grad():
    packed = student(**{key: value for key, value in batch.items() if key != "labels"}).logits[0]
    starts = [*(batch["position_ids"][0] == 0).nonzero().flatten().tolist(), batch["input_ids"].shape[1]]
    for begin, end in zip(starts, starts[1:]):
        alone = student(input_ids=batch["input_ids"][:, begin:end]).logits[0]
        worst = max(worst, (alone - packed[begin:end]).abs().max().item())
trainer.train()
losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
print(json.dumps({"rows": found, "packed": len(starts) - 1, "worst": worst, "losses": losses}))
"""

LLAMAFACTORY = """
import json, yaml
from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.hparams import get_train_args
from llamafactory.model import load_tokenizer

with open("low.yaml") as file:
    configuration = yaml.safe_load(file)
model, data, training, _, _ = get_train_args({**configuration, "use_cpu": True, "bf16": False})
tokenizer = load_tokenizer(model)
template = get_template_and_fix_tokenizer(tokenizer["tokenizer"], data)
packs = get_dataset(template, model, data, training, stage="sft", **tokenizer)["train_dataset"]
found = []
for pack in packs:
    for number in range(1, max(pack["attention_mask"]) + 1):
        here = [place for place, mask in enumerate(pack["attention_mask"]) if mask == number]
        found.append([[pack[name][place] for place in here] for name in ("input_ids", "labels")])
print(json.dumps({"rows": found, "packed": max(max(pack["attention_mask"]) for pack in packs)}))
"""


def needs(library: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        importlib.util.find_spec(library) is None, reason=f"{library} is not installed here"
    )


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature student with a template that writes system messages too, and nothing before them."""
    place = tmp_path_factory.mktemp("student") / "student"
    shutil.copytree(resolve_model("dasd:mini-student"), place)
    (place / "chat_template.jinja").write_text(
        "{% for message in messages %}{% if message['role'] == 'assistant' %}"
        "{{ '<|assistant|>' + message['content'] + eos_token }}"
        "{% else %}{{ '<|user|>' + message['content'] }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
    )
    return place


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, student: Path) -> Run:
    return run_recipe(
        tmp_path_factory.mktemp("tools") / "run",
        until="train-low",
        student={"model": str(student)},
        questions={"system_prompt": "You are a helpful assistant."},
        trainer={"batch_size": 2, "micro_batch_size": 2, "precision": "fp32"},
    )


def told(script: str, directory: Path) -> dict[str, Any]:
    """The JSON on the last line that the script prints in the export's directory."""
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(directory.parent / "cache"),
        "DISABLE_VERSION_CHECK": "1",  # LLaMA-Factory's, of packages that have no part in reading data
    }
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def as_trained(run: Run) -> list[list[list[int]]]:
    """Tokens and labels of the rows of the run's own training, sorted."""
    rows = []
    for tokens, mask in (
        run.frame("train", "train-low").select("token_ids", "loss_mask").collect().iter_rows()
    ):
        flags = [flag for number, length in enumerate(mask) for flag in [number % 2] * length]
        rows.append([tokens, [token if flag else -100 for token, flag in zip(tokens, flags, strict=True)]])
    return sorted(rows)


@needs("trl")
@pytest.mark.parametrize("form", ["messages", pytest.param("tokens", marks=pytest.mark.slow)])
def test_trl_trains_what_dasd_trains(tmp_path: Path, run: Run, form: str) -> None:
    registry = PluginHost.load([], lambda _: None).registry
    place, manifest = export_run(
        run, "trl", tmp_path / "trl", stages=["low"], options={"form": form}, registry=registry
    )
    assert manifest.lost == ()
    found = told(TRL, place)
    assert sorted(found["rows"]) == as_trained(run)  # prompt masked, end token trained
    assert found["packed"] > 1
    assert found["worst"] < 1e-3  # neighbours in a pack don't see each other
    assert len(found["losses"]) == 2
    assert all(0 < loss < 20 for loss in found["losses"])


@pytest.mark.slow
@needs("llamafactory")
def test_llamafactory_reads_what_dasd_trains(tmp_path: Path, run: Run) -> None:
    registry = PluginHost.load([], lambda _: None).registry
    place, manifest = export_run(run, "llamafactory", tmp_path / "lf", stages=["low"], registry=registry)
    assert manifest.lost == ()
    found = told(LLAMAFACTORY, place)
    assert sorted(found["rows"]) == as_trained(run)
    assert found["packed"] > 1  # neatly: every row of a pack has its own number in the attention mask
