"""Loading the model that training starts from: float32 master weights on the device, or an adapter's by frozen ones."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dasd.base.checksums import feed_file, hasher
from dasd.base.seeds import seed_of
from dasd.errors import InputError
from dasd.models.files import load_config, loading
from dasd.plugins.roles import TrainSpec
from dasd.training import attention
from dasd.training.lora import add_adapter, narrow_frozen


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

    Its trained parameters are float32, all of them or those of an adapter. Raises InputError for a directory
    without such a model, RecipeError for targets of an adapter that it doesn't have.
    """
    attention.register()
    settings = spec.settings
    model = open_model(spec, torch.float32, implementation)
    dtype = _stored_type(spec)
    for parameter in model.parameters():
        # Loaded weights may lie in a mapped file at any address; matrix products can depend on alignment.
        parameter.data = parameter.data.clone()
    if settings.adapter == "lora":
        add_adapter(model, settings.lora, seed_of(spec.seed, "lora"))
        if settings.precision == "bf16" and dtype == torch.bfloat16:
            narrow_frozen(model)
    model.to(device).train()
    if settings.gradient_checkpointing:
        _checkpoint_layers(model)
    return model, dtype


def open_model(spec: TrainSpec, dtype: torch.dtype, implementation: str | None = None) -> Any:
    """The causal language model in ``spec.model`` in ``dtype`` on the CPU. Raises InputError."""
    from transformers import AutoModelForCausalLM

    chosen = {} if implementation is None else {"attn_implementation": implementation}
    with loading(f"{spec.model}, to be trained with attention {implementation!r},"):
        return AutoModelForCausalLM.from_pretrained(
            spec.model,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=spec.trust_remote_code,
            local_files_only=True,
            **chosen,
        )


def _stored_type(spec: TrainSpec) -> torch.dtype:
    config = load_config(str(spec.model), trust_remote_code=spec.trust_remote_code, here=True)
    found: torch.dtype = getattr(config, "dtype", None) or torch.float32
    return found


def _checkpoint_layers(model: Any) -> None:
    """Recompute activations layer by layer. InputError for an architecture that can't."""
    # Without re-entrance an input needs no gradient for the weights behind it to get theirs, as with an adapter.
    # Later releases of transformers 5 renamed the method and warn at the old name.
    newer = getattr(model, "activation_checkpointing_enable", None)
    try:
        if newer is not None:
            newer({"use_reentrant": False})
        else:
            model.gradient_checkpointing_enable({"use_reentrant": False})
    except ValueError as error:
        raise InputError(f"trainer.gradient_checkpointing: {error} Set it to false.") from error


def trained_parameters(model: Any) -> dict[str, Tensor]:
    """The parameters of ``model`` that are trained, by name."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def weights_fingerprint(directory: Path) -> str:
    """Hash of config and weights in a model directory: a changed start model means another training."""
    digest = hasher()
    for path in sorted([directory / "config.json", *directory.glob("*.safetensors")]):
        digest.update(path.name.encode())
        feed_file(digest, path)
    return digest.hexdigest()
