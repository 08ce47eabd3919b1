"""The trained model as a Hugging Face directory that appears whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import torch
from safetensors import SafetensorError
from torch import Tensor

from dasd.base.files import disk_full, means_full, remove_tree, sync
from dasd.base.progress import no_bars

_WRITTEN = ("config.json", "losses.parquet", "*.safetensors", "*.safetensors.index.json")
"""Made anew from the trained model; whatever else lies beside the start model's weights is copied."""
_COPIED = ("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*.py", "additional_chat_templates")


def export_model(
    model: Any,
    dtype: torch.dtype,
    start: Path,
    output: Path,
    losses: pl.DataFrame,
    weights: Mapping[str, Tensor] | None = None,
    beside: Callable[[Path], None] = lambda _: None,
) -> None:
    """Write model, config, generation config, tokenizer files and ``losses.parquet`` to ``output``.

    The weights are written in ``dtype``, the type of the start model's. Tokenizer, chat template and
    generation config are copied from ``start`` byte for byte. An ``output`` that is there is replaced.
    ``weights``: the whole ``state_dict`` where the model itself doesn't hold it (it is partitioned).
    ``beside`` writes more into the directory before it appears.
    Raises DiskFullError.
    """
    temporary = output.with_name(f".{output.name}.tmp")
    remove_tree(temporary)
    temporary.mkdir(parents=True)
    try:
        _write(model, dtype, start, temporary, losses, model.state_dict() if weights is None else weights)
        beside(temporary)
    except (OSError, SafetensorError) as error:
        full = means_full(error, output.parent)
        remove_tree(temporary)
        if full:
            raise disk_full(output.parent, None) from error
        raise
    for path in temporary.rglob("*"):
        sync(path)
    sync(temporary)
    if output.exists():
        former = output.with_name(f".{output.name}.former")
        remove_tree(former)
        output.rename(former)
        temporary.rename(output)
        remove_tree(former)
    else:
        temporary.rename(output)
    sync(output.parent)


def _write(
    model: Any,
    dtype: torch.dtype,
    start: Path,
    directory: Path,
    losses: pl.DataFrame,
    weights: Mapping[str, Tensor],
) -> None:
    if getattr(model, "generation_config", None) is not None:
        from transformers import GenerationConfig

        # The start model's file is copied below; saving a foreign one can be refused by newer versions.
        model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
    stored = {name: tensor.to(dtype) for name, tensor in weights.items()}
    with no_bars():
        model.save_pretrained(directory, state_dict=stored)
    # save_pretrained names the type of the master weights, which aren't what was written.
    model.config.dtype = dtype
    model.config.save_pretrained(directory)
    (directory / "generation_config.json").unlink(missing_ok=True)
    for path in directory.glob("*.safetensors"):
        # Newer safetensors make files that only their owner can read.
        path.chmod((directory / "config.json").stat().st_mode)
    for pattern in _COPIED:
        for path in start.glob(pattern):
            if any(path.match(written) for written in _WRITTEN):
                continue
            if path.is_dir():
                shutil.copytree(path, directory / path.name, dirs_exist_ok=True)
            else:
                shutil.copyfile(path, directory / path.name)
    losses.write_parquet(directory / "losses.parquet")
