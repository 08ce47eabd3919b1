"""The state of a training on disk: safetensors files with whole parameters, so any division can go on from it.

``state-STEP/rank-R.safetensors``: float32 weights and optimiser state of the parameters that process R has
written, by name. ``state-STEP/manifest.json`` is written last: a state without one, or with a file of
another size or checksum, was torn or altered and doesn't count. DeepSpeed's own checkpoints are pickles and aren't
used.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from deepspeed import comm
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dasd.api import read_json
from dasd.api.training import Position, digest, disk_full, file_checksum, means_full, sync, write_whole
from dasd_deepspeed.engine import MOMENTS, Engine
from dasd_deepspeed.muon import DividedMuon

_FORMAT = 1
_MANIFEST = "manifest.json"
_KEPT = 2
"""States that stay: the newest, and the one before in case the newest is found torn."""
_logger = logging.getLogger("dasd_deepspeed")


def save_state(directory: Path, key: str, position: Position, engine: Engine, muon: DividedMuon) -> None:
    """Write the state of ``position`` and remove older ones. Collective. Raises DiskFullError.

    Each process writes its share of the parameters, in turn.
    """
    target = directory / f"state-{position.step:08d}"
    if engine.rank == 0:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
    comm.barrier()
    tensors: dict[str, Tensor] = {}
    for number, (name, parameter) in enumerate(engine.parameters.items()):
        whole = {"weight": engine.weight(parameter)}
        if name not in engine.matrices:
            whole |= {kind: engine.moment(parameter, kind) for kind in MOMENTS}
        if number % engine.world == engine.rank:
            tensors |= {f"{kind}/{name}": value.cpu().contiguous() for kind, value in whole.items()}
        if muon.owns(name):
            tensors[f"momentum/{name}"] = muon.momentum(name).cpu().contiguous()
    path = target / f"rank-{engine.rank}.safetensors"
    try:
        save_file(tensors, path)
        sync(path)
    except (OSError, SafetensorError) as error:
        if means_full(error, directory):
            raise disk_full(directory, sum(tensor.nbytes for tensor in tensors.values())) from error
        raise
    comm.barrier()
    if engine.rank == 0:
        seal(target, key, position)
        for old in _states(directory)[_KEPT:]:
            shutil.rmtree(old)
    comm.barrier()


def seal(target: Path, key: str, position: Position) -> None:
    """Make the files in ``target`` a state: write its manifest. Raises DiskFullError."""
    files = {file.name: file.stat().st_size for file in target.glob("*.safetensors")}
    sums = _checksums(target, files)
    record = {"format": _FORMAT, "key": key, **asdict(position), "files": files, "sums": sums}
    record["sum"] = _sum(record)
    write_whole(target / _MANIFEST, json.dumps(record, indent=2).encode())


def find_state(directory: Path, key: str) -> tuple[Path, Position] | None:
    """The newest whole state of the training ``key``, and how far it has come; ``None`` if there is none.

    States of another training and torn ones are passed over with a warning in the log.
    """
    for path in _states(directory):
        try:
            record = read_json(path / _MANIFEST)
            wanted = record.pop("sum", None)
            if wanted not in (None, _sum(record)):  # a state of an older release has none
                raise ValueError(f"{_MANIFEST} was altered")
            if record["format"] != _FORMAT or record["key"] != key:
                _logger.warning(
                    "%s is the state of another training (settings, data, seed or start model)", path
                )
                continue
            for name, size in record["files"].items():
                if (path / name).stat().st_size != size:
                    raise ValueError(f"{name} has not the {size} bytes it was written with")
            if record.get("sums") not in (None, _checksums(path, record["files"])):
                raise ValueError("a file was altered: its checksum is not that of what was written")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            _logger.warning("%s can't be read (%s); an earlier state is looked for", path, error)
            continue
        return path, Position(step=record["step"], tokens=record["tokens"], seconds=record["seconds"])
    return None


@torch.no_grad()
def load_state(path: Path, position: Position, engine: Engine, muon: DividedMuon) -> None:
    """Put a state into model and optimisers, which have taken a step before. Collective."""
    device = engine.engine.device
    files: list[Any] = [safe_open(file, framework="pt") for file in sorted(path.glob("*.safetensors"))]
    places = {name: file for file in files for name in file.keys()}  # noqa: SIM118 (no mapping)

    def read(kind: str, name: str) -> Tensor:
        # Cloned: tensors of a file may lie at any address, and matrix products can depend on alignment.
        tensor: Tensor = places[f"{kind}/{name}"].get_tensor(f"{kind}/{name}")
        return tensor.to(device, copy=True)

    for name, parameter in engine.parameters.items():
        weight = read("weight", name)
        engine.set_weight(parameter, weight)
        if muon.owns(name):
            muon.restore(name, weight, read("momentum", name))
        if name not in engine.matrices:
            for kind in MOMENTS:
                engine.set_moment(parameter, kind, read(kind, name))
    engine.set_adam_step(position.step)


def _checksums(directory: Path, files: Collection[str]) -> dict[str, str]:
    with ThreadPoolExecutor(8) as pool:  # hashing frees the interpreter's lock
        return dict(zip(files, pool.map(lambda name: file_checksum(directory / name), files), strict=True))


def _sum(record: dict[str, Any]) -> str:
    return digest(json.dumps(record, sort_keys=True))


def _states(directory: Path) -> list[Path]:
    """Directories of states, the newest first."""
    return sorted(directory.glob("state-*"), reverse=True)
