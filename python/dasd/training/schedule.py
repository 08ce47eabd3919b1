"""Learning rate of each step: linear warm-up to the peak, then a cosine to the minimum."""

from __future__ import annotations

from math import cos, pi

from dasd.recipe.training_settings import TrainerSettings


def learning_rate(step: int, steps: int, settings: TrainerSettings) -> float:
    """Rate for optimiser step ``step`` of ``steps``, counted from 1: the last step has the minimum.

    Warm-up takes ``warmup_ratio`` of the steps, rounded; its last step has the peak.
    """
    peak, minimum = settings.learning_rate, settings.min_learning_rate
    warmup = round(settings.warmup_ratio * steps)
    if step <= warmup:
        return peak * step / warmup
    share = (step - warmup) / (steps - warmup)
    return minimum + (peak - minimum) * 0.5 * (1 + cos(pi * share))
