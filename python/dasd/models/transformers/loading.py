"""Loading a causal language model from safetensors, quietly, and refusing one that isn't whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from dasd.errors import InputError
from dasd.models.devices import pick_device
from dasd.models.files import check_model, loading, resolve_model
from dasd.models.transformers.builtin import TransformersOptions
from dasd.recipe.model_settings import ModelSettings

__all__ = ["load_model"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def load_model(settings: ModelSettings, options: TransformersOptions) -> Any:
    """The model in evaluation mode, without gradients, on its device and in its data type.

    Raises InputError where the model can't be loaded or its files lack weights.
    """
    check_model(settings)
    device = pick_device(settings.device, f"model {settings.model}: device")
    with loading(f"model {settings.model}"), _quiet():
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            resolve_model(settings.model),
            revision=settings.revision,
            dtype=_DTYPES[settings.precision],
            trust_remote_code=settings.trust_remote_code,
            use_safetensors=True,
            attn_implementation=options.attention,
            output_loading_info=True,
        )
    model, found = loaded
    missing = sorted(found["missing_keys"])
    if missing:
        raise InputError(
            f"model {settings.model}: its files lack {len(missing)} weights, e.g. {missing[0]}; "
            "save or fetch the model again"
        )
    return model.to(device).eval().requires_grad_(False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own notes on generation settings; its errors stay."""
    transformers_logging: Any = logging
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
