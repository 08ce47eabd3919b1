"""A trained adapter as peft keeps it, and the checkpoint that it is merged into."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import torch
from safetensors.torch import save_file
from torch import Tensor

from dasd.base.records import ADAPTER
from dasd.base.small_files import read_json
from dasd.plugins.roles import TrainSpec
from dasd.training.export import export_model
from dasd.training.lora import peft_config
from dasd.training.model import open_model


def export_adapted(
    spec: TrainSpec, adapter: Mapping[str, Tensor], dtype: torch.dtype, losses: pl.DataFrame
) -> None:
    """Write the start model with ``adapter`` merged into it to ``spec.output``, and the adapter to ``adapter/`` there.

    ``adapter``: the trained float32 parameters by their names in the model, in whole. The start model is read again,
    so it doesn't matter how its weights were held or divided: W + alpha / rank B A is computed in float32 and
    rounded once, to ``dtype``, the type that W is stored in. Raises DiskFullError.
    """
    lora = spec.settings.lora
    model = open_model(spec, dtype)
    config = peft_config(model, lora)
    config.base_model_name_or_path, config.revision = _base(spec.model.absolute())
    config.inference_mode = True
    matrices = {name: tensor.detach().float().cpu().contiguous() for name, tensor in adapter.items()}
    modules = dict(model.named_modules())
    for name, product in _products(matrices).items():
        weight = modules[name].weight
        weight.data = (weight.data.float() + product * (lora.alpha / lora.rank)).to(dtype)

    def write(directory: Path) -> None:
        place = directory / ADAPTER
        config.save_pretrained(place)
        # peft keeps a set of targets; the same training is to write the same file.
        record = read_json(place / "adapter_config.json")
        record["target_modules"].sort()
        text = json.dumps(record, indent=2, sort_keys=True)
        (place / "adapter_config.json").write_text(text + "\n", encoding="utf-8")
        stored = {
            f"base_model.model.{name.replace('.default.', '.')}": tensor for name, tensor in matrices.items()
        }
        save_file(stored, place / "adapter_model.safetensors", {"format": "pt"})
        (place / "adapter_model.safetensors").chmod((place / "adapter_config.json").stat().st_mode)

    export_model(model, dtype, spec.model, spec.output, losses, beside=write)


def _base(directory: Path) -> tuple[str, str | None]:
    """What the adapter belongs to: of a snapshot in the hub's cache name and commit, else the directory."""
    *_, above, kind, commit = ("", "", *directory.parts)
    if kind == "snapshots" and above.startswith("models--"):
        return above.removeprefix("models--").replace("--", "/", 1), commit
    return str(directory), None


def _products(matrices: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """B A of each adapted layer, by its path."""
    first = ".lora_A.default.weight"
    return {
        name.removesuffix(first): matrices[name.replace(".lora_A.", ".lora_B.")] @ a
        for name, a in matrices.items()
        if name.endswith(first)
    }
