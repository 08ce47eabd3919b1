"""Optimisers: AdamW for everything, or Muon for the hidden matrices and AdamW for the rest.

Weight decay acts on matrices, embeddings included, and not on norms and biases: as the Hugging Face trainer
does, with which the method's published models were made. Muon's update is scaled to AdamW's usual size
(``match_rms_adamw``), so that one learning rate serves both.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Optimizer

from dasd.recipe.training_settings import TrainerSettings


def make_optimizers(model: Any, settings: TrainerSettings) -> list[Optimizer]:
    """Optimisers that together hold every trainable parameter of ``model`` once."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    matrices = _hidden_matrices(model) if settings.optimizer == "muon" else set()
    hidden = [p for name, p in parameters.items() if name in matrices]
    others = [p for name, p in parameters.items() if name not in matrices]
    optimizers: list[Optimizer] = [
        torch.optim.AdamW(
            [
                {"params": [p for p in others if _axes(p) >= 2], "weight_decay": settings.weight_decay},
                {"params": [p for p in others if _axes(p) < 2], "weight_decay": 0.0},
            ],
            lr=settings.learning_rate,
            betas=settings.betas,
            fused=all(p.device.type in ("cpu", "cuda") for p in others),
        )
    ]
    if hidden:
        optimizers.append(
            torch.optim.Muon(
                hidden,
                lr=settings.learning_rate,
                weight_decay=settings.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    return optimizers


def set_learning_rate(optimizers: list[Optimizer], rate: float) -> None:
    """Let every optimiser use ``rate`` in its next step."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate


def _axes(parameter: Any) -> int:
    """Axes of a parameter, also of one that ZeRO-3 has partitioned away."""
    return len(getattr(parameter, "ds_shape", parameter.shape))


def _hidden_matrices(model: Any) -> set[str]:
    """Names of the weights of linear layers between the embeddings and the head."""
    ends = {
        id(m.weight) for m in (model.get_input_embeddings(), model.get_output_embeddings()) if m is not None
    }
    return {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and id(module.weight) not in ends
    }
