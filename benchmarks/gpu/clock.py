"""Seconds and peak memory of work on a device, and what the device is."""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path

import torch

from benchmarks.machine import describe, version

_PACKAGES = (
    "torch",
    "transformers",
    "accelerate",
    "trl",
    "datasets",
    "flash_attn",
    "safetensors",
    "tokenizers",
)


def now(device: torch.device) -> float:
    """Seconds on a clock, read when all work that the device was given is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def fresh(device: torch.device) -> None:
    """Give back what is unused, and let the peak of memory start again."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int | None:
    """Most bytes in tensors since ``fresh``; None where torch doesn't count them (the CPU)."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def scratch_root() -> Path | None:
    """Where models are written: memory where there is such a place, so that no disk is measured."""
    memory = Path("/dev/shm")  # noqa: S108 (a temporary directory is made in it)
    return memory if os.access(memory, os.W_OK) else None


def describe_device(device: torch.device) -> dict[str, object]:
    """The machine and its versions, and the device."""
    found: dict[str, object] = describe() | {name: version(name) for name in _PACKAGES}
    if device.type == "cuda":
        facts = torch.cuda.get_device_properties(device)
        found |= {"device": facts.name, "device_memory": facts.total_memory, "cuda": torch.version.cuda}
    else:
        found |= {"device": "cpu", "device_memory": None, "cuda": None}
    return found
