"""Stops an on-policy training before it destroys the student: a step's own tokens tell how far it has come."""

from __future__ import annotations

from collections.abc import Sequence

from dasd.base.records import OnPolicyLoss
from dasd.errors import TrainingError
from dasd.plugins.roles import OwnFigures

__all__ = ["Guard", "own_figures"]


def own_figures(sums: Sequence[float], loss: OnPolicyLoss) -> OwnFigures | None:
    """Means of a step's own tokens from the sums ``on_policy_loss.FIGURES``; None for a step without own tokens."""
    weight, distance, entropy, advantage, forward = sums
    if not weight:
        return None
    dense = loss.kind != "sampled-reverse-kl"
    return OwnFigures(
        distance / weight, entropy / weight, -advantage / weight, forward / weight if dense else None
    )


class Guard:
    """Holds the figures of each step against the bounds of the loss."""

    def __init__(self, loss: OnPolicyLoss, stage: str, first: OwnFigures | None) -> None:
        """``first``: figures of the training's first step, where an earlier start has taken it."""
        self._loss = loss
        self._stage = stage
        self._first = first

    def check(self, step: int, steps: int, figures: OwnFigures | None, rate: float) -> None:
        """Raises TrainingError before the step that ``figures`` belong to changes the weights."""
        if figures is None:
            return
        self._first = self._first or figures
        floor = self._loss.least_entropy * self._first.entropy
        if figures.kl_from_start > self._loss.max_kl:
            raise self._stop(
                step,
                steps,
                rate,
                f"its tokens are {figures.kl_from_start:.3g} nats a token from the student that sampled them; wanted "
                f"at most max_kl = {self._loss.max_kl:g}",
            )
        if figures.entropy < floor:
            raise self._stop(
                step,
                steps,
                rate,
                f"the student's entropy is {figures.entropy:.3g} nats a token; wanted at least least_entropy = "
                f"{self._loss.least_entropy:g} of the first step's {self._first.entropy:.3g}",
            )

    def _stop(self, step: int, steps: int, rate: float, why: str) -> TrainingError:
        return TrainingError(
            f"training {self._stage!r} stopped before step {step} of {steps}: {why}. The student is being destroyed, "
            f"or the bound is too narrow. Learning rate {rate:g}. The weights that the round began with are whole; "
            "try a lower trainer.learning_rate, fewer steps a round, or change the bound."
        )
