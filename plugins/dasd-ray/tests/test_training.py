"""A training of DeepSpeed's over two nodes of a real cluster, started by the run's own command."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from safetensors.numpy import load_file

import dasd
from conftest import PATIENCE, Nodes, descendants, raylet, recipe, within
from dasd.api import HostsWanted, InputError
from dasd.errors import TrainingError
from dasd.pipeline.runner import Pipeline
from dasd_ray import RayOptions
from dasd_ray.executor import RayExecutor

needs_deepspeed = pytest.mark.skipif(find_spec("deepspeed") is None, reason="DeepSpeed is not installed")

WORKER = b"dasd_deepspeed.worker"


def training(address: str | None, **options: Any) -> dict[str, Any]:
    made = recipe(address)
    made["plugins"].append("deepspeed")
    made["trainer"] = {
        "trainer": "deepspeed",
        "precision": "fp32",
        "device": "cpu",
        "batch_size": 4,
        "micro_batch_size": 1,
        "max_length": 256,
        "epochs": 4,
        "max_steps": 10,
        "save_every": 1,
        "options": {"zero_stage": 3, **options},
    }
    return made


def trained(directory: Path) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Losses and weights."""
    losses = dasd.Run.open(directory).frame("losses").collect().drop("seconds")
    return losses, load_file(directory / "checkpoints" / "stage1" / "model.safetensors")


def ranks() -> dict[str, int]:
    """Process ids of the training's processes by rank."""
    found = {}
    for path in Path("/proc").iterdir():
        with suppress(OSError):
            if path.name.isdigit() and WORKER in (path / "cmdline").read_bytes().split(b"\0"):
                words = (path / "environ").read_bytes().split(b"\0")
                rank = next((word for word in words if word.startswith(b"RANK=")), None)
                if rank is not None:
                    found[rank.decode().removeprefix("RANK=")] = int(path.name)
    return found


def steps(directory: Path) -> int:
    """Steps of the training since its last start."""
    files = list(directory.glob("stages/*-train-low/scratch/progress.jsonl"))
    return files[0].read_text().count("\n") if files else 0


@needs_deepspeed
def test_a_training_over_two_nodes_is_that_of_two_processes_here_though_a_node_dies(
    nodes: Nodes, tmp_path: Path
) -> None:
    nodes.have(2)
    here, there = tmp_path / "here", tmp_path / "there"
    Pipeline.from_recipe(training(None, processes=2)).run(here, until="select-low")
    shutil.copytree(here, there)
    Pipeline.from_recipe(training(None, processes=2)).run(here, only="train-low")
    wanted = trained(here)

    def start() -> dasd.Run:
        made = training(nodes.address, processes=1, hosts=2)
        return Pipeline.from_recipe(made).run(there, only="train-low")

    def during(happens: Callable[[], None]) -> dasd.Run:
        with ThreadPoolExecutor(1) as thread:
            run = thread.submit(start)
            happens()
            return run.result()

    def a_step() -> dict[str, int]:
        within(PATIENCE, lambda: ranks() and steps(there) >= 1, "a step")
        found = ranks()
        on = [node for node in nodes.all if set(found.values()) & set(descendants(raylet(node)))]
        assert len(found) == len(on) == 2
        return found

    def lose_the_node() -> None:
        pid = a_step()["1"]
        nodes.kill(next(node for node in nodes.all if pid in descendants(raylet(node))))

    with pytest.raises(
        TrainingError, match=r"process 1 on [\d.]+ ended as host [\d.]+ of the training is lost"
    ):
        during(lose_the_node)
    within(PATIENCE, lambda: not ranks(), "the end of its processes")
    nodes.have(2)
    start()
    losses, weights = trained(there)
    assert losses.equals(wanted[0])
    assert weights.keys() == wanted[1].keys()
    assert all((weights[name] == wanted[1][name]).all() for name in weights)
    assert not ranks()


def test_a_host_that_sees_another_file_is_named(nodes: Nodes) -> None:
    nodes.have(2)
    executor = RayExecutor(RayOptions(address=nodes.address))
    try:
        # Another file in each process.
        with pytest.raises(
            InputError, match=r"host [\d.]+ doesn't see .*/stat as it is here; wanted the run dir"
        ):
            executor.hosts(HostsWanted(2, 1, "auto", [Path(__file__), Path("/proc/self/stat")]))
    finally:
        executor.close()
