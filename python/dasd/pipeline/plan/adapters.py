"""Sizes of the adapters that trainings of a recipe have."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from dasd.errors import DasdError
from dasd.recipe.model_settings import ModelSettings
from dasd.recipe.training_settings import TrainerSettings

if TYPE_CHECKING:
    from dasd.training.lora import AdapterSize

__all__ = ["adapter_of"]


def adapter_of(trainer: TrainerSettings, student: ModelSettings) -> AdapterSize | None:
    """Parameters of a training's adapter; None where all weights are trained, and where the size isn't known.

    Not known: the student isn't on this machine, torch isn't, or the targets are wrong, which is a finding.
    """
    if trainer.adapter is None or any(find_spec(name) is None for name in ("torch", "transformers")):
        return None
    from dasd.training.lora import adapter_size

    try:
        return adapter_size(student, trainer.lora)
    except DasdError:
        return None
