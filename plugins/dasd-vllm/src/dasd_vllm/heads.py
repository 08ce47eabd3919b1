"""Attention heads of a size that vLLM's CPU kernels don't have: padded, which changes no output.

The kernels have heads of 32, 64 ... numbers; models made for tests and demonstrations may have smaller ones. A
head is widened to the next multiple of its size that is there. Numbers that are added are zero in queries, keys
and values; rotary pairs go where the wider head turns them by the same angle (frequency j of a head of d
numbers is theta^(-2j/d), which is number kj of a head of kd); queries are scaled by sqrt(k), as attention divides
by the root of the head's size.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dasd.api import InputError, read_json

if TYPE_CHECKING:
    import torch

__all__ = ["kernel_sizes", "runnable"]


def kernel_sizes() -> list[int]:
    """Head sizes that vLLM's CPU kernels have, ascending."""
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

    return sorted(CPUAttentionBackend.get_supported_head_sizes())


@contextlib.contextmanager
def runnable(path: str, sizes: Sequence[int]) -> Iterator[str]:
    """The directory to load instead of ``path``: itself, or a copy that goes when the block is left.

    ``sizes``: numbers in the heads that the kernels have, ascending.

    Raises InputError for a model whose heads the kernels don't have and that can't be padded.
    """
    config_file = Path(path) / "config.json"
    if not config_file.is_file():  # a named model: vLLM fetches it
        yield path
        return
    config = read_json(config_file)
    size = _head_size(config)
    if size is None or size in sizes:
        yield path
        return
    wide = next((s for s in sizes if s % size == 0), None)
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    plain = rope.get("rope_type", rope.get("type", "default")) == "default"
    if wide is None or size % 2 or config.get("model_type") != "llama" or not plain:
        raise InputError(
            f"model {path}: its attention heads have {size} numbers, and vLLM's CPU kernels have heads of "
            f"{', '.join(map(str, sizes))} alone; run it with the backend transformers"
        )
    with tempfile.TemporaryDirectory(prefix="dasd-vllm-") as directory:
        _write(Path(path), Path(directory), config, size, wide)
        yield directory


def _widened(name: str, tensor: torch.Tensor, size: int, wide: int) -> torch.Tensor:
    """A weight or bias of a Llama with heads of ``size`` numbers, for heads of ``wide``; others are as they were."""
    import torch

    kind = next((k for k in ("q", "k", "v", "o") if f".self_attn.{k}_proj." in name), None)
    if kind is None or (kind == "o" and tensor.dim() == 1):
        return tensor
    by_head = (
        tensor.T if kind == "o" else tensor
    )  # the last projection reads the heads: its columns are padded
    rows = by_head.reshape(by_head.shape[0] // size, size, *by_head.shape[1:])
    if kind == "q":
        rows = rows.to(torch.float32) * math.sqrt(wide / size)
    padded = rows.new_zeros(rows.shape[0], wide, *rows.shape[2:])
    padded[:, _places(size, wide, rotary=kind in "qk")] = rows
    flat = padded.reshape(rows.shape[0] * wide, *rows.shape[2:])
    return (flat.T if kind == "o" else flat).contiguous()


def _places(size: int, wide: int, rotary: bool) -> list[int]:
    """Where the numbers of a head go; a rotary pair is the numbers j and j + half the head."""
    if not rotary:
        return list(range(size))
    step = wide // size
    half = [j * step for j in range(size // 2)]
    return [*half, *(place + wide // 2 for place in half)]


def _write(source: Path, target: Path, config: dict[str, Any], size: int, wide: int) -> None:
    from safetensors.torch import load_file, save_file

    for file in source.iterdir():
        if not file.is_file() or file.name == "config.json":
            continue
        if file.suffix == ".safetensors":
            tensors = {name: _widened(name, t, size, wide) for name, t in load_file(file).items()}
            save_file(tensors, target / file.name, metadata={"format": "pt"})
        else:
            shutil.copyfile(file, target / file.name)
    (target / "config.json").write_text(json.dumps({**config, "head_dim": wide}))


def _head_size(config: dict[str, Any]) -> int | None:
    """Numbers in an attention head; None where the config has another shape than most."""
    declared = config.get("head_dim")
    if isinstance(declared, int):
        return declared
    hidden, heads = config.get("hidden_size"), config.get("num_attention_heads")
    return hidden // heads if isinstance(hidden, int) and isinstance(heads, int) and heads else None
