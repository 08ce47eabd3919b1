"""Loading a causal language model from safetensors, quietly, and refusing one that isn't whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from dasd.backends.options import TransformersOptions
from dasd.errors import InputError
from dasd.models import check_model, resolve_model
from dasd.settings import ModelSettings

__all__ = ["load_model", "pick_device"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def pick_device(device: str) -> torch.device:
    """The device of a ``device`` setting; ``auto`` is the first GPU, else the CPU. Raises InputError."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device {device!r}: wanted auto, cpu, cuda or cuda:N") from error
    if picked.type not in ("cpu", "cuda"):
        raise InputError(f"device {device!r}: wanted auto, cpu, cuda or cuda:N")
    if picked.type == "cuda" and (picked.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device {device!r}: torch sees {torch.cuda.device_count()} GPUs; use auto or cpu")
    return picked


def load_model(settings: ModelSettings, options: TransformersOptions) -> Any:
    """The model in evaluation mode, without gradients, on its device and in its data type.

    Raises InputError where the model can't be loaded or its files lack weights.
    """
    check_model(settings)
    device = pick_device(settings.device)
    try:
        with _quiet():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                resolve_model(settings.model),
                revision=settings.revision,
                dtype=_DTYPES[settings.precision],
                trust_remote_code=settings.trust_remote_code,
                use_safetensors=True,
                attn_implementation=options.attention,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        raise InputError(f"model {settings.model} can't be loaded: {error}") from error
    model, loading = loaded
    missing = sorted(loading["missing_keys"])
    if missing:
        raise InputError(
            f"model {settings.model}: its files lack {len(missing)} weights, e.g. {missing[0]}; "
            "save or fetch the model again"
        )
    return model.to(device).eval().requires_grad_(False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own progress bars and notes on generation settings; its errors stay."""
    transformers_logging: Any = logging
    bars = transformers_logging.is_progress_bar_enabled()
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
