"""The examination: everything that the report tells, gathered without changing anything."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from dasd.base.files import MIN_FREE_BYTES, free_bytes, human_bytes
from dasd.base.machine import Gpu, cores, memory_available_bytes, memory_bytes, nvidia_gpus
from dasd.cli.environment.conflicts import conflicts
from dasd.cli.environment.packages import RELEVANT, installed, packages
from dasd.cli.environment.records import PluginState, Problem, Report, Torch
from dasd.version import __version__

__all__ = ["examine"]

_SHOWN = (
    "HF_HUB_OFFLINE",
    "HF_HOME",
    "HF_HUB_CACHE",
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "DS_ACCELERATOR",
    "TORCH_EXTENSIONS_DIR",
    "VLLM_CPU_OMP_THREADS_BIND",
    "DASD_CONTROL_GROUP",
    "DASD_DEBUG",
)
_SECRETS = ("HF_TOKEN", "OPENAI_API_KEY")
_TOOLS = ("bwrap", "nvidia-smi", "ninja", "c++")
_STUB = re.compile(r"^def ([a-z]\w*)\(", re.MULTILINE)
_REBUILD = "reinstall dasd; in a checkout: maturin develop --release"


def examine() -> Report:
    """Examine this environment. Imports torch where it is installed, and every plugin."""
    core, problems = _core()
    torch, found = look_at_torch()
    problems += found
    plugins, found = _plugins() if core == "ok" else ((), [])
    problems += found
    from dasd.plugins.entry_points import GROUP

    found, notes = conflicts(RELEVANT, GROUP)
    problems += found
    if installed("vllm") is None and installed("vllm-cpu") is not None:
        notes.append(
            "vllm is installed as vllm-cpu: the command `vllm serve` looks for the other name and fails; "
            "`python -m vllm.entrypoints.openai.api_server` works"
        )
    here = Path.cwd()
    free = free_bytes(here)
    if free < MIN_FREE_BYTES:
        what = (
            f"{human_bytes(free)} are free in {here}, and a run needs at least {human_bytes(MIN_FREE_BYTES)}"
        )
        problems.append(Problem(what, "make room, or work in another directory"))
    return Report(
        dasd=__version__,
        python=platform.python_version(),
        executable=sys.executable,
        platform=platform.platform(),
        cores=cores(),
        memory_bytes=memory_bytes(),
        memory_available_bytes=memory_available_bytes(),
        directory=str(here),
        disk_free_bytes=free,
        core=core,
        torch=torch,
        gpus=torch.gpus if torch is not None and torch.gpus else nvidia_gpus(),
        packages=packages(),
        plugins=plugins,
        tools={name: _program(name) for name in _TOOLS},
        environment=_environment(),
        notes=tuple(notes),
        problems=tuple(problems),
    )


def _program(name: str) -> str | None:
    """Where a program is: on the path, or beside this Python, which is where packages put theirs."""
    return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))


def _core() -> tuple[str, list[Problem]]:
    """Whether the Rust extension loads, has every function that this dasd calls, and gives right answers."""
    spec = find_spec("dasd")
    stub = Path(spec.origin).with_name("_native.pyi") if spec is not None and spec.origin else Path()
    try:
        from dasd import _native, kernels
    except ImportError as error:
        what = f"the Rust extension dasd._native doesn't import: {error}"
        return str(error), [Problem(what, _REBUILD)]
    wanted = set(_STUB.findall(stub.read_text(encoding="utf-8"))) if stub.is_file() else set()
    lacking = sorted(name for name in wanted if not hasattr(_native, name))
    if lacking:
        what = f"the Rust extension is of another version: it lacks {', '.join(lacking)}"
        return what, [Problem(what, _REBUILD)]
    import polars as pl

    ends = kernels.sentence_ends(pl.Series(["One is odd. Two is not."])).to_list()
    if ends != [[12, 23]]:
        what = f"the Rust extension gives wrong answers: sentence_ends found {ends}, wanted [[12, 23]]"
        return what, [Problem(what, _REBUILD)]
    version = installed("dasd")
    if version is not None and version != __version__:
        what = f"dasd is installed as {version}, and the code that runs is {__version__}"
        return "ok", [Problem(what, "reinstall dasd")]
    return "ok", []


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


def _plugins() -> tuple[tuple[PluginState, ...], list[Problem]]:
    from dasd.plugins.host import PluginHost

    found = []
    problems = []
    for record in PluginHost.load(warn=lambda _: None, seconds=10).plugins:
        if record.builtin:
            continue
        found.append(PluginState(record.name, record.distribution, record.version, record.error))
        if record.error is not None:
            what = f"plugin {record.name} ({record.distribution} {record.version}) is broken: {record.error}"
            problems.append(Problem(what, f"pip install --force-reinstall {record.distribution}"))
    return tuple(found), problems


def _environment() -> dict[str, str]:
    found = {name: os.environ.get(name, "unset") for name in _SHOWN}
    return found | {name: "set" if os.environ.get(name) else "unset" for name in _SECRETS}
