"""Built-in trainers. This module only registers; torch is imported by the factory.

What holds for every trainer, whatever moves the weights: stage ``train`` gives it the directory of ``start``
and rows that have passed ``preflight`` (labels shown or refused). What a trainer can use besides is in
``dasd.training``; plugins take it from ``dasd.api.training``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dasd.plugins.roles import Trainer, hookimpl
from dasd.recipe.training_settings import TrainerSettings
from dasd.training.torch.options import TorchOptions

if TYPE_CHECKING:
    from dasd.plugins.registry import Registry


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
        packages=("torch", "transformers"),
        extra="torch",
    )
