"""One optimiser step, whoever takes it: its learning rate, the weight that its loss is over, and why it was refused."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi
from typing import Any

import numpy as np
import numpy.typing as npt

from dasd.errors import TrainingError
from dasd.recipe.training_settings import TrainerSettings
from dasd.training.loaded_rows import TrainRows

_NAMED_ROWS = 8
"""Sample ids that an error lists."""


def learning_rate(
    step: int, steps: int, settings: TrainerSettings, *, part: int = 1, parts: int = 1
) -> float:
    """Rate for optimiser step ``step`` of ``steps``, counted from 1: the last step has the minimum.

    Where the training is one of several ``parts`` of one schedule, counted from 1, it is that of all. The optimiser
    begins anew with each; so each but the first, which has the warm-up, rises to it over as many steps as AdamW's
    second moment remembers, 1 / (1 - beta2), or half of its own: without that its first step is a leap.

    A linear warm-up, then a cosine. Warm-up takes ``warmup_ratio`` of the steps, rounded; its last step has the peak.
    """
    rise = min(round(1 / (1 - settings.betas[1])), steps // 2) if part > 1 else 0
    if step < rise:
        return step / rise * learning_rate(rise, steps, settings, part=part, parts=parts)
    step, steps = step + (part - 1) * steps, steps * parts
    peak, minimum = settings.learning_rate, settings.min_learning_rate
    warmup = round(settings.warmup_ratio * steps)
    if step <= warmup:
        return peak * step / warmup
    share = (step - warmup) / (steps - warmup)
    return minimum + (peak - minimum) * 0.5 * (1 + cos(pi * share))


def step_weight(rows: TrainRows, chosen: npt.NDArray[Any]) -> float:
    """Sum of the weights of all trained tokens of the rows with the numbers ``chosen``.

    A step's loss is divided by the whole step's weight, not by each micro-batch's or each process's: so
    accumulation and data parallelism are exact.
    """
    return float(np.dot(rows.weights_N[chosen].astype(np.float64), rows.trained_N[chosen]))


def not_finite(
    *, step: int, steps: int, loss: float, grad_norm: float, rate: float, sample_ids: Sequence[str]
) -> TrainingError:
    """The error for a loss or gradient that isn't finite; ``sample_ids`` are those of the step."""
    named = list(sample_ids)[:_NAMED_ROWS]
    more = f" and {len(sample_ids) - len(named)} more" if len(sample_ids) > len(named) else ""
    return TrainingError(
        f"step {step} of {steps} has loss {loss:g} and gradient norm {grad_norm:g}; wanted "
        f"finite numbers. Learning rate {rate:g}; samples in the step: {', '.join(named)}{more}. The "
        f"weights of step {step - 1} were not changed, and the last saved state is kept. Try a lower "
        "trainer.learning_rate, a longer trainer.warmup_ratio, or trainer.precision: fp32; look at those "
        "samples."
    )
