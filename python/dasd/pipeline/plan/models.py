"""Sizes of models from their files alone: config.json and the headers of the safetensors files."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from dasd.base.model_files import (
    CONTEXT,
    HEADS,
    HIDDEN,
    LAYERS,
    VOCABULARY,
    first_size,
    read_config,
    read_shapes,
)
from dasd.base.regular import read_small
from dasd.models.files import resolve_model
from dasd.recipe.model_settings import ModelSettings

__all__ = ["Architecture", "ModelFacts", "find_model", "read_facts"]

_STORED = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
_EXPERT = re.compile(r"\.experts?\.")


@dataclass(frozen=True, slots=True)
class Architecture:
    """Numbers of a decoder's config that memory depends on."""

    layers: int
    hidden: int
    kv_heads: int
    head_dim: int
    vocabulary: int


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model directory says of itself; None for what it doesn't say."""

    path: Path
    parameters: int | None
    active_parameters: int | None
    stored_bytes: int | None
    """Bytes of weights, config and tokenizer as they are stored: what a checkpoint takes."""
    context_length: int | None
    architecture: Architecture | None


def find_model(settings: ModelSettings) -> Path | None:
    """Directory of a model that is on this machine, the hub's local cache included; None for another.

    Raises InputError as ``resolve_model`` does.
    """
    path = Path(resolve_model(settings.model))
    if path.is_dir():
        return path
    if settings.model.startswith("dasd:"):
        return None
    cache = _hub_cache() / f"models--{settings.model.replace('/', '--')}"
    revision = settings.revision or "main"
    ref = cache / "refs" / revision
    try:
        commit = read_small(ref, 1000).decode("utf-8").strip() if ref.is_file() else revision
    except (OSError, UnicodeDecodeError):
        return None
    snapshot = cache / "snapshots" / commit
    return snapshot if (snapshot / "config.json").is_file() else None


def _hub_cache() -> Path:
    if "HF_HUB_CACHE" in os.environ:
        return Path(os.environ["HF_HUB_CACHE"]).expanduser()
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    return Path(home).expanduser() / "hub"


def read_facts(path: Path) -> ModelFacts:
    """Facts of a model directory. Raises InputError for a config or a header that can't be read."""
    config = read_config(path)
    sizes = {name: prod(shape) for name, shape in read_shapes(path).items()}
    stored = sum(file.stat().st_size for pattern in _STORED for file in path.glob(pattern))
    parameters = sum(sizes.values()) or None
    return ModelFacts(
        path=path,
        parameters=parameters,
        active_parameters=_active(sizes, config) if parameters else None,
        stored_bytes=stored or None,
        context_length=first_size(config, CONTEXT),
        architecture=_architecture(config),
    )


def _architecture(config: dict[str, Any]) -> Architecture | None:
    layers = first_size(config, LAYERS)
    hidden = first_size(config, HIDDEN)
    heads = first_size(config, HEADS)
    vocabulary = first_size(config, VOCABULARY)
    if layers is None or hidden is None or heads is None or vocabulary is None:
        return None
    return Architecture(
        layers=layers,
        hidden=hidden,
        kv_heads=first_size(config, ("num_key_value_heads",)) or heads,
        head_dim=first_size(config, ("head_dim",)) or hidden // heads,
        vocabulary=vocabulary,
    )


def _active(sizes: dict[str, int], config: dict[str, Any]) -> int:
    """Parameters that a token passes through: of the experts only those that it is routed to."""
    total = sum(sizes.values())
    experts = first_size(config, ("num_local_experts", "num_experts", "n_routed_experts"))
    chosen = first_size(config, ("num_experts_per_tok", "experts_per_token", "top_k"))
    if experts is None or chosen is None or chosen >= experts:
        return total
    routed = sum(size for name, size in sizes.items() if _EXPERT.search(name))
    return total - routed + routed * chosen // experts
