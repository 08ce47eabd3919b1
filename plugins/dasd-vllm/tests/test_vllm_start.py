"""Starting the engine: one after another, and what is said where it can't start."""

from __future__ import annotations

import random
import shutil
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from dasd.api import (
    DasdError,
    InputError,
    ModelSettings,
    PluginError,
    RecipeError,
    SampleRequest,
    SamplingSpec,
)
from dasd.models.miniature import model_path
from dasd.models.pool import ModelPool
from dasd.plugins.host import PluginHost
from dasd_vllm.options import VllmOptions

installed = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")
SMALL = {"kv_cache_memory_mib": 64, "max_num_batched_tokens": 256}


def settings(model: str, **keys: Any) -> ModelSettings:
    return ModelSettings(**{"model": model, "backend": "vllm", "precision": "fp32", "options": SMALL, **keys})


def test_without_vllm_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(PluginError, match=r"not installed; on a GPU: pip install 'dasd-vllm\[gpu\]'"):
        PluginHost.load(["vllm"]).registry.make_teacher(settings("dasd:mini-teacher"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kv_cache_memory": 5}, "kv_cache_memory_mib"),
        ({"engine": {"dtype": "float16"}}, "dtype is set by `precision`"),
        ({"engine": {"max_model_len": 64}}, "max_model_len is an option of its own"),
        ({"tensor_parallel_size": 0}, "tensor_parallel_size"),
    ],
)
def test_options_are_checked_without_an_engine(options: dict[str, Any], said: str) -> None:
    registry = PluginHost.load(["vllm"]).registry
    with pytest.raises(RecipeError, match=said):
        registry.checked_options("teacher", "vllm", options, "teacher.options")


def test_every_option_has_a_description() -> None:
    assert all(field.description for field in VllmOptions.model_fields.values())


@installed
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"engine": {"enable_expert_parallell": True}},
            "no such argument; did you mean enable_expert_parallel",
        ),
        ({"max_model_len": 100_000}, "Lower options.max_model_len"),
        ({"kv_cache_memory_mib": 1}, "set options.kv_cache_memory_mib"),
        ({"quantization": "no-such-method"}, "no-such-method"),
    ],
)
def test_options_that_do_not_fit_are_named(options: dict[str, Any], said: str) -> None:
    registry = PluginHost.load(["vllm"]).registry
    with pytest.raises(DasdError, match=said):
        registry.make_teacher(settings("dasd:mini-teacher", options={**SMALL, **options}))


@installed
@pytest.mark.parametrize(
    ("device", "said"), [("cuda", "runs on cpu alone"), ("tpu", "wanted auto, cpu or cuda")]
)
def test_a_device_that_this_build_lacks_is_refused(device: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        PluginHost.load(["vllm"]).registry.make_teacher(settings("dasd:mini-teacher", device=device))


@installed
def test_a_model_without_tokenizer_is_refused(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        shutil.copy(model_path("teacher") / name, tmp_path / name)
    with pytest.raises(InputError, match="has no tokenizer"):
        PluginHost.load(["vllm"]).registry.make_teacher(settings(str(tmp_path)))


@installed
def test_one_model_after_another_in_one_process(
    tmp_path: Path, requests: list[SampleRequest], capfd: pytest.CaptureFixture[str]
) -> None:
    """As a pipeline does: teacher, student, then a checkpoint that training left in a directory."""
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(model_path("student"), checkpoint)
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state()
    pool = ModelPool(PluginHost.load(["vllm"]).registry)
    rows, threads, held = [], torch.get_num_threads(), []
    try:
        for model in ("dasd:mini-teacher", "dasd:mini-student", str(checkpoint), "dasd:mini-teacher"):
            teacher = pool.open(settings(model))
            if not rows:  # sampling itself draws from torch's state, for requests without a seed
                assert random.getstate() == states[0]
                assert np.random.get_state()[1].tolist() == states[1]
                assert torch.equal(torch.random.get_rng_state(), states[2])
            rows.append(
                pl.concat(teacher.sample(requests, SamplingSpec("low", 1.0, 1.0, 40))).sort("sample_id")
            )
            held.append(int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20)
    finally:
        pool.close()
    assert rows[1]["token_ids"].equals(rows[2]["token_ids"])
    assert rows[1]["model_revision"][0] == rows[2]["model_revision"][0] != rows[0]["model_revision"][0]
    assert rows[3].equals(rows[0])
    assert held[3] - held[0] < 300, f"resident memory in MiB with each model open: {held}"
    assert torch.get_num_threads() == threads
    assert not torch.distributed.is_initialized()
    assert [t for t in threading.enumerate() if "vllm" in t.name.lower()] == []
    assert capfd.readouterr().out == ""
