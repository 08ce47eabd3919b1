"""Loading the model that training starts from, as float32 master weights on the device."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from dasd.checksums import feed_file, hasher
from dasd.errors import InputError
from dasd.progress import no_bars
from dasd.records import TrainSpec
from dasd.training import attention


def attention_of(choice: str, precision: str, device: torch.device) -> str:
    """Name that transformers knows the attention by: ``choice`` is a trainer's option ``attention``.

    ``auto`` is flash attention in bf16 on a GPU where the package is there, else ``segments``.
    """
    if choice == "auto":
        flash = device.type == "cuda" and precision == "bf16" and find_spec("flash_attn") is not None
        return "flash_attention_2" if flash else attention.NAME
    return attention.NAME if choice == "segments" else choice


def load_model(spec: TrainSpec, implementation: str, device: torch.device) -> tuple[Any, torch.dtype]:
    """The causal language model in ``spec.model`` ready to train, and the data type it was stored in.

    Raises InputError for a directory without such a model.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    attention.register()
    arguments = {"trust_remote_code": spec.trust_remote_code, "local_files_only": True}
    try:
        config = AutoConfig.from_pretrained(spec.model, **arguments)
        with no_bars():
            model: Any = AutoModelForCausalLM.from_pretrained(
                spec.model,
                dtype=torch.float32,
                attn_implementation=implementation,
                use_safetensors=True,
                **arguments,
            )
    except (OSError, ValueError, ImportError) as error:
        raise InputError(
            f"{spec.model} can't be trained with attention {implementation!r}: wanted a directory with the "
            f"config and safetensors of a causal language model; {error}"
        ) from error
    for parameter in model.parameters():
        # Loaded weights may lie in a mapped file at any address; matrix products can depend on alignment.
        parameter.data = parameter.data.clone()
    model.to(device).train()
    if spec.settings.gradient_checkpointing:
        _checkpoint_layers(model)
    return model, getattr(config, "dtype", None) or torch.float32


def _checkpoint_layers(model: Any) -> None:
    """Recompute activations layer by layer. InputError for an architecture that can't."""
    # Later releases of transformers 5 renamed the method and warn at the old name.
    newer = getattr(model, "activation_checkpointing_enable", None)
    try:
        if newer is not None:
            newer({"use_reentrant": False})
        else:
            model.gradient_checkpointing_enable({"use_reentrant": False})
    except ValueError as error:
        raise InputError(f"trainer.gradient_checkpointing: {error} Set it to false.") from error


def weights_fingerprint(directory: Path) -> str:
    """Hash of config and weights in a model directory: a changed start model means another training."""
    digest = hasher()
    for path in sorted([directory / "config.json", *directory.glob("*.safetensors")]):
        digest.update(path.name.encode())
        feed_file(digest, path)
    return digest.hexdigest()
