"""Plugin ``deepspeed``: a trainer that spreads a training over processes with DeepSpeed's ZeRO."""

from __future__ import annotations

from importlib.metadata import version

from dasd.api import Registry, Trainer, TrainerSettings, hookimpl
from dasd_deepspeed.options import DeepSpeedOptions

__version__ = version("dasd-deepspeed")


@hookimpl
def dasd_register(registry: Registry) -> None:
    """Register the trainer ``deepspeed``."""
    registry.trainer(
        "deepspeed",
        _deepspeed,
        options=DeepSpeedOptions,
        doc="Fine-tuning (all weights, or a LoRA adapter) over several processes or hosts with DeepSpeed's "
        "ZeRO-1, 2 or 3.",
        trains_adapters=True,
        trains_on_policy=True,
        hosts="hosts",
    )


def _deepspeed(settings: TrainerSettings) -> Trainer:
    from dasd_deepspeed.trainer import DeepSpeedTrainer

    return DeepSpeedTrainer(settings)
