"""Sizes of models from their files alone: config.json and the headers of the safetensors files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import prod
from pathlib import Path

from dasd.base.model_config import CONTEXT, first_size, read_config, read_shapes
from dasd.base.small_files import read_small
from dasd.models.files import resolve_model
from dasd.recipe.model_settings import ModelSettings

__all__ = ["ModelFacts", "find_model", "read_facts"]

_STORED = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model directory says of itself; None for what it doesn't say."""

    path: Path
    parameters: int | None
    stored_bytes: int | None
    """Bytes of weights, config and tokenizer as they are stored: what a checkpoint takes."""
    context_length: int | None


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
    stored = sum(file.stat().st_size for pattern in _STORED for file in path.glob(pattern))
    return ModelFacts(
        path=path,
        parameters=sum(prod(shape) for shape in read_shapes(path).values()) or None,
        stored_bytes=stored or None,
        context_length=first_size(config, CONTEXT),
    )
