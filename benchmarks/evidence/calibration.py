"""Whether a student knows when it is right: its own probability of an answer against the verdict."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["calibration"]


def calibration(mean_logprobs: Sequence[float], right: Sequence[bool]) -> dict[str, float]:
    """``calibration.brier`` and ``calibration.auroc`` of answers.

    ``mean_logprobs``: mean log-probability of an answer's tokens, in nats; its exponential is held against the verdict
    by the Brier score (mean squared difference; 0.25 for whoever always says a half). AUROC: how often a right answer
    has more of it than a wrong one, ties counting half; left out where all answers are right or all wrong.
    """
    if not right:
        return {}
    means, verdicts = np.asarray(mean_logprobs, dtype=np.float64), np.asarray(right, dtype=bool)
    found = {
        "calibration.brier": float(np.mean((np.exp(means) - verdicts) ** 2)),
        "calibration.confidence": float(np.mean(np.exp(means))),
    }
    yes, no = means[verdicts], means[~verdicts]
    if len(yes) and len(no):
        above = (yes[:, None] > no[None, :]).mean()
        equal = (yes[:, None] == no[None, :]).mean()
        found["calibration.auroc"] = float(above + equal / 2)
    return found
