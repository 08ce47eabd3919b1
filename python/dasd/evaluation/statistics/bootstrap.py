"""Bootstrap intervals of a mean over questions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dasd.errors import InputError
from dasd.evaluation.statistics.estimate import LEVEL, Interval

__all__ = ["bootstrap"]

_AT_ONCE = 2_000_000


def bootstrap(values: Sequence[float], draws: int = 10_000, seed: int = 0) -> Interval:
    """Percentile interval of the mean of one value a question, by drawing questions.

    Each question's value carries its attempts' noise, so this is the interval for other questions of the kind.
    Deviations are scaled by sqrt(n / (n - 1)), as drawing from a sample understates its variance. Raises InputError
    for fewer than two questions.
    """
    whole = np.asarray(values, dtype=np.float64)
    if whole.size < 2:
        raise InputError(f"bootstrap: wanted at least two questions to draw from, got {whole.size}")
    random = np.random.default_rng(seed)
    parts = []
    for start in range(0, draws, step := max(1, _AT_ONCE // whole.size)):
        picked = random.integers(whole.size, size=(min(step, draws - start), whole.size))
        parts.append(whole[picked].mean(axis=1))
    centre = float(whole.mean())
    low, high = np.quantile(np.concatenate(parts), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    scale = float(np.sqrt(whole.size / (whole.size - 1)))
    return Interval(centre + float(low - centre) * scale, centre + float(high - centre) * scale)
