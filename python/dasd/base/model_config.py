"""What a model directory's config.json and the headers of its safetensors files say, and whether they agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dasd.base.small_files import read_json
from dasd.errors import InputError

__all__ = [
    "CONTEXT",
    "HEADS",
    "HIDDEN",
    "LAYERS",
    "VOCABULARY",
    "check_sizes",
    "first_size",
    "read_config",
    "read_shapes",
]

LAYERS = ("num_hidden_layers", "n_layer", "num_layers")
HIDDEN = ("hidden_size", "n_embd", "d_model")
HEADS = ("num_attention_heads", "n_head")
VOCABULARY = ("vocab_size",)
CONTEXT = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
"""Keys of a config that say how long a sequence may be."""
_OTHERS = ("num_key_value_heads", "head_dim")
_MAY_BE_ZERO = ("intermediate_size", "n_inner", "num_local_experts", "num_experts", "n_routed_experts")
_PACKED = 8
"""Most values that a quantised tensor's element holds: its dimensions may be so many times shorter."""


def read_config(path: Path) -> dict[str, Any]:
    """Config of the directory ``path``, a text model's own keys over the others. Raises InputError."""
    file = path / "config.json"
    try:
        config = read_json(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{file} can't be read: {error}; fetch or save the model again") from error
    if not isinstance(config, dict):
        raise InputError(f"{file}: wanted an object, got {type(config).__name__}")
    text = config.get("text_config")
    return {**config, **text} if isinstance(text, dict) else config


def first_size(config: dict[str, Any], names: tuple[str, ...]) -> int | None:
    """The first of the keys ``names`` that holds a whole number above zero."""
    values = (config.get(name) for name in names)
    return next((value for value in values if type(value) is int and value > 0), None)


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor of the directory ``path``, from the headers alone.

    Raises InputError for a header that isn't true: not JSON, longer than its file, tensors that overlap.
    """
    from safetensors import SafetensorError, safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for file in sorted(path.glob("*.safetensors")):
        try:
            with safe_open(file, framework="numpy") as tensors:
                for name in sorted(tensors.keys()):
                    shapes[name] = tuple(tensors.get_slice(name).get_shape())
        except (OSError, ValueError, SafetensorError) as error:
            raise InputError(f"{file} can't be read as safetensors ({error}); fetch it again") from error
    return shapes


def check_sizes(path: Path) -> None:
    """Refuse a config whose sizes aren't those of the directory's tensors, before a model of them is built.

    A layer has a tensor at least; hidden size and vocabulary are dimensions of tensors, and nothing is much
    larger than all of these. Raises InputError that names the key, also for a size that is no number above zero.
    """
    config, shapes = read_config(path), read_shapes(path)
    lengths = {length for shape in shapes.values() for length in shape}
    longest = max(lengths, default=0) * _PACKED
    quantised = "quantization_config" in config
    for key in (*LAYERS, *HIDDEN, *HEADS, *VOCABULARY, *_OTHERS, *_MAY_BE_ZERO):
        value = config.get(key)
        least = 0 if key in _MAY_BE_ZERO else 1
        for size in value if isinstance(value, list) else [value]:
            if size is None:
                continue
            where = f"{path / 'config.json'}: {key}"
            if type(size) is not int or size < least:
                raise InputError(f"{where}: wanted a whole number of at least {least}, got {size!r}")
            if key in LAYERS:
                fits = size <= len(shapes)
            elif key in (*HIDDEN, *VOCABULARY) and not quantised:
                fits = size in lengths
            else:
                fits = size <= longest
            if not fits:
                raise InputError(
                    f"{where} is {size}, which the {len(shapes)} tensors of its safetensors files can't be of; "
                    "wanted the config that the weights were saved with, fetch or save the model again"
                )
