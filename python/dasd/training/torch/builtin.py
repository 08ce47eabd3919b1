"""Built-in trainers. This module only registers; torch is imported by the factory.

What holds for every trainer, whatever moves the weights: stage ``train`` gives it the directory of ``start``
and rows that have passed ``preflight`` (labels shown or refused). What a trainer can use besides is in
``dasd.training``; plugins take it from ``dasd.api.training``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from dasd.plugins.components import Options
from dasd.plugins.roles import Trainer, hookimpl
from dasd.recipe.training_settings import TrainerSettings

if TYPE_CHECKING:
    from dasd.plugins.registry import Registry


class TorchOptions(Options):
    """Options of trainer ``torch``."""

    attention: Literal["auto", "segments", "flash_attention_2", "sdpa", "eager"] = Field(
        "auto",
        description="How packed responses are kept apart. `segments`: causal attention row by row, no mask, "
        "any device; `flash_attention_2`: the flash-attn package (CUDA, bf16); `sdpa`, `eager`: a mask "
        "of the whole forward pass, for models whose attention is special. `auto`: flash-attn where it is "
        "installed and usable, else `segments`.",
    )
    loss_logits: int | None = Field(
        None,
        ge=1,
        description="Logits held at once for the loss; more trained tokens than that are taken in chunks. "
        "null: 2^28 on a GPU (8 bytes each), else 2^25.",
    )


def _torch(settings: TrainerSettings) -> Trainer:
    """Fine-tuning on one device in plain torch: all weights, or a LoRA adapter."""
    from dasd.training.torch.trainer import TorchTrainer

    return TorchTrainer(settings)


@hookimpl
def dasd_register(registry: Registry) -> None:
    """Register the trainers that ship with dasd."""
    registry.trainer(
        "torch",
        _torch,
        options=TorchOptions,
        trains_adapters=True,
        trains_on_policy=True,
        packages=("torch", "transformers"),
        extra="torch",
    )
