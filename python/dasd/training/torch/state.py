"""The state of a training on disk: one safetensors file, replaced whole, with all that exact resume needs.

Trained master weights (all, or an adapter's) and optimiser state are tensors; the rest is JSON in the file's header.
A checksum of all of it is in the header too.
There is no state of random numbers: every step seeds from the training's seed and its own number.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer

from dasd.base.checksums import checksum, hasher
from dasd.base.files import canonical_json, disk_full, means_full, sync
from dasd.training.model import trained_parameters
from dasd.training.position import Position

_FILE = "state.safetensors"
_FORMAT = 1
_logger = logging.getLogger("dasd.training.torch")


def save_state(
    directory: Path, key: str, position: Position, model: Any, optimizers: list[Optimizer]
) -> None:
    """Replace the state in ``directory``; a kill leaves the one before. Raises DiskFullError."""
    names = _names(model)
    tensors = {f"model/{name}": parameter for name, parameter in trained_parameters(model).items()}
    for number, optimizer in enumerate(optimizers):
        for parameter, values in optimizer.state.items():
            for what, value in values.items():
                tensors[f"optimizer/{number}/{what}/{names[id(parameter)]}"] = value
    header = {"format": _FORMAT, "key": key, **asdict(position)}
    header["sum"] = _checksum(header, tensors)
    temporary = directory / f".{_FILE}.tmp"
    try:
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            temporary,
            {"dasd": json.dumps(header)},
        )
        sync(temporary)
    except (OSError, SafetensorError) as error:
        full = means_full(error, directory)
        temporary.unlink(missing_ok=True)
        if full:
            raise disk_full(directory, sum(t.nbytes for t in tensors.values())) from error
        raise
    temporary.replace(directory / _FILE)
    sync(directory)


def load_state(directory: Path, key: str, model: Any, optimizers: list[Optimizer]) -> Position | None:
    """Put the state in ``directory`` into model and optimisers; ``None`` if there is none to go on from.

    A state of another training (other settings, data, seed or start model) and one that can't be read are
    left alone, with a warning in the log: training starts anew and its first state replaces them.
    """
    path = directory / _FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["dasd"])
            if header["format"] != _FORMAT or header["key"] != key:
                _logger.warning(
                    "%s is the state of another training (settings, data, seed or start model differ); "
                    "training starts anew and replaces it",
                    path,
                )
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        wanted = header.pop("sum", None)
        if wanted not in (None, _checksum(header, tensors)):  # a state of an older dasd has none
            raise ValueError("it was altered: its checksum is not that of what was written")
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        _logger.warning("%s can't be read (%s); training starts anew and replaces it", path, error)
        return None
    _restore(tensors, model, optimizers)
    return Position(step=header["step"], tokens=header["tokens"], seconds=header["seconds"])


@torch.no_grad()
def _restore(tensors: Mapping[str, Tensor], model: Any, optimizers: list[Optimizer]) -> None:
    for name, parameter in trained_parameters(model).items():
        parameter.copy_(tensors[f"model/{name}"])
    names = _names(model)
    for number, optimizer in enumerate(optimizers):
        # load_state_dict counts parameters through all groups and moves values to where they belong.
        plain = optimizer.state_dict()
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        wanted = f"optimizer/{number}/"
        kinds = {name.split("/")[2] for name in tensors if name.startswith(wanted)}
        plain["state"] = {
            # Cloned: tensors of a file may lie at any address, and matrix products can depend on alignment.
            place: {kind: tensors[f"{wanted}{kind}/{names[id(p)]}"].clone() for kind in sorted(kinds)}
            for place, p in enumerate(parameters)
            if kinds and f"{wanted}{min(kinds)}/{names[id(p)]}" in tensors
        }
        optimizer.load_state_dict(plain)


def _checksum(header: Mapping[str, object], tensors: Mapping[str, Tensor]) -> str:
    def of(name: str) -> list[object]:
        tensor = tensors[name].detach().cpu().contiguous()
        found = hasher()
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
        return [name, str(tensor.dtype), list(tensor.shape), found.hexdigest()]

    with ThreadPoolExecutor(8) as pool:  # hashing large tensors frees the interpreter's lock
        return checksum(canonical_json([header, list(pool.map(of, sorted(tensors)))]))


def _names(model: Any) -> dict[int, str]:
    return {id(parameter): name for name, parameter in model.named_parameters()}
