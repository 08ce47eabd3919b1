"""torch as it is: whether it imports, what it was built for, and which GPUs it sees."""

from __future__ import annotations

import os
from importlib.util import find_spec

from dasd.base.machine import Gpu, nvidia_gpus
from dasd.cli.environment.packages import installed
from dasd.cli.environment.records import Problem, Torch

__all__ = ["look_at_torch"]


def look_at_torch() -> tuple[Torch | None, list[Problem]]:
    """Import torch, if it is installed, and compare what it sees with what the driver says."""
    version = installed("torch")
    if version is None or find_spec("torch") is None:
        return None, []
    try:
        import torch
    except Exception as error:  # noqa: BLE001 (whatever a broken build raises is the finding)
        cause = f"{type(error).__name__}: {error}"
        broken = Torch(version, None, 0, (), cause)
        return broken, [
            Problem(f"torch {version} doesn't import: {cause}", "pip install --force-reinstall torch")
        ]
    problems = []
    built_for = torch.version.cuda or getattr(torch.version, "hip", None)
    gpus: list[Gpu] = []
    if torch.cuda.is_available():
        drivers = {gpu.name: gpu.driver for gpu in nvidia_gpus()}
        for index in range(torch.cuda.device_count()):
            found = torch.cuda.get_device_properties(index)
            gpus.append(Gpu(found.name, int(found.total_memory), drivers.get(found.name, ""), "torch"))
    elif nvidia_gpus() and os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1"):
        first = nvidia_gpus()[0]
        if built_for is None:
            what = f"there is a GPU ({first.name}), and torch {version} is a build without CUDA"
            fix = "install torch's CUDA build, as https://pytorch.org/get-started names it for this driver"
        else:
            what = f"there is a GPU ({first.name}), and torch {version} for CUDA {built_for} can't use it"
            fix = f"update the driver (now {first.driver}), or install a torch that is built for it"
        problems.append(Problem(what, fix))
    return Torch(version, built_for, int(torch.get_num_threads()), tuple(gpus), None), problems
