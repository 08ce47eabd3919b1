"""One optimiser step after the other."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer

from dasd.api import TrainerSettings, TrainingError, TrainProgress
from dasd.seeds import seed_of
from dasd.trainers.plan import TrainPlan
from dasd.trainers.rows import TrainRows
from dasd.trainers.torch.batches import collate
from dasd.trainers.torch.loss import weighted_nll
from dasd.trainers.torch.optimizer import set_learning_rate
from dasd.trainers.torch.schedule import learning_rate
from dasd.trainers.torch.state import Position

_NAMED_ROWS = 8
"""Sample ids that an error lists."""


@dataclass
class Loop:
    """A training in progress. ``position`` is how far the weights have come; ``updating`` is true while they
    change, when model and optimisers don't fit together and nothing may be saved."""

    model: Any
    optimizers: list[Optimizer]
    rows: TrainRows
    plan: TrainPlan
    settings: TrainerSettings
    seed: int
    attention: str
    plain_head: bool
    loss_logits: int
    position: Position
    updating: bool = False

    def steps(self) -> Iterator[TrainProgress]:
        """Take the steps that are left; yields after each one.

        Raises TrainingError before the weights change if loss or gradients are not finite.
        """
        for step in range(self.position.step + 1, self.plan.steps + 1):
            yield self._step(step)

    def _step(self, step: int) -> TrainProgress:
        started = time.perf_counter()
        # Random numbers (dropout) follow from the step alone, so a resumed training draws the same.
        torch.manual_seed(seed_of(self.seed, "step", step))
        packs = self.plan.step_packs(step)
        rate = learning_rate(step, self.plan.steps, self.settings)
        loss = self._accumulate(packs)
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        grad_norm = float(torch.nn.utils.clip_grad_norm_(parameters, self.settings.clip))
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            self._clear()
            raise TrainingError(self._not_finite(step, loss, grad_norm, rate, np.concatenate(packs)))
        set_learning_rate(self.optimizers, rate)
        self.updating = True
        for optimizer in self.optimizers:
            optimizer.step()
        seen = int(self.rows.lengths[np.concatenate(packs)].sum())
        self.position = Position(
            step=step,
            tokens=self.position.tokens + seen,
            seconds=self.position.seconds + time.perf_counter() - started,
        )
        self.updating = False
        self._clear()
        return TrainProgress(
            step=step,
            steps=self.plan.steps,
            epoch=self.plan.epoch(step),
            loss=loss,
            learning_rate=rate,
            grad_norm=grad_norm,
            tokens=self.position.tokens,
            seconds=self.position.seconds,
        )

    def _accumulate(self, packs: list[Any]) -> float:
        """Gradients of the step's loss: weighted NLL over the weight of all trained tokens of the step.

        Dividing by the whole step's weight, not by each micro-batch's, makes accumulation exact.
        """
        device = next(self.model.parameters()).device
        chosen = np.concatenate(packs)
        weight = float(np.dot(self.rows.weights_N[chosen].astype(np.float64), self.rows.trained_N[chosen]))
        total = torch.zeros((), dtype=torch.float64, device=device)
        size = self.settings.micro_batch_size
        for first in range(0, len(packs), size):
            batch = collate(self.rows, np.concatenate(packs[first : first + size]), device)
            with torch.autocast(device.type, torch.bfloat16, enabled=self.settings.precision == "bf16"):
                nll = weighted_nll(
                    self.model,
                    batch,
                    attention=self.attention,
                    plain_head=self.plain_head,
                    loss_logits=self.loss_logits,
                )
            (nll / weight).backward()  # type: ignore[no-untyped-call]
            total += nll.detach()
        return float(total) / weight

    def _clear(self) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)

    def _not_finite(self, step: int, loss: float, grad_norm: float, rate: float, rows: Any) -> str:
        names = [self.rows.sample_ids[int(i)] for i in rows[:_NAMED_ROWS]]
        more = f" and {len(rows) - len(names)} more" if len(rows) > len(names) else ""
        return (
            f"step {step} of {self.plan.steps} has loss {loss:g} and gradient norm {grad_norm:g}; wanted "
            f"finite numbers. Learning rate {rate:g}; samples in the step: {', '.join(names)}{more}. The "
            f"weights of step {step - 1} were not changed, and the last saved state is kept. Try a lower "
            "trainer.learning_rate, a longer trainer.warmup_ratio, or trainer.precision: fp32; look at those "
            "samples."
        )
