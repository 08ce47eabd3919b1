"""One optimiser step after the other."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from dasd.base.records import OnPolicyLoss
from dasd.base.seeds import seed_of
from dasd.plugins.roles import TrainProgress
from dasd.recipe.training_settings import TrainerSettings
from dasd.training.batches import Batch, collate
from dasd.training.guard import Guard, own_figures
from dasd.training.loaded_rows import TrainRows
from dasd.training.loss import on_policy_loss, weighted_nll
from dasd.training.on_policy_loss import FIGURES
from dasd.training.optimizer import set_learning_rate
from dasd.training.plan import TrainPlan
from dasd.training.position import Position
from dasd.training.step import learning_rate, not_finite, step_weight


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
    on_policy: OnPolicyLoss | None = None
    guard: Guard | None = None
    """Of an on-policy training."""
    part: int = 1
    parts: int = 1
    updating: bool = False

    def steps(self) -> Iterator[TrainProgress]:
        """Take the steps that are left; yields after each one.

        Raises TrainingError before the weights change if loss or gradients are not finite, or the guard stops it.
        """
        for step in range(self.position.step + 1, self.plan.steps + 1):
            yield self._step(step)

    def _step(self, step: int) -> TrainProgress:
        started = time.perf_counter()
        # Random numbers (dropout) follow from the step alone, so a resumed training draws the same.
        torch.manual_seed(seed_of(self.seed, "step", step))
        packs = self.plan.step_packs(step)
        rate = learning_rate(step, self.plan.steps, self.settings, part=self.part, parts=self.parts)
        loss, sums = self._accumulate(packs)
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        grad_norm = float(torch.nn.utils.clip_grad_norm_(parameters, self.settings.clip))
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            self._clear()
            names = [self.rows.sample_ids[int(row)] for row in np.concatenate(packs)]
            raise not_finite(
                step=step,
                steps=self.plan.steps,
                loss=loss,
                grad_norm=grad_norm,
                rate=rate,
                sample_ids=names,
            )
        figures = None if sums is None or self.on_policy is None else own_figures(sums, self.on_policy)
        if self.guard is not None:
            self.guard.check(step, self.plan.steps, figures, rate)
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
            own=figures,
        )

    def _accumulate(self, packs: list[Any]) -> tuple[float, list[float] | None]:
        """Gradients of the step's loss, over the weight of all its trained tokens; the loss, and sums of FIGURES."""
        device = next(self.model.parameters()).device
        weight = step_weight(self.rows, np.concatenate(packs))
        total = torch.zeros((), dtype=torch.float64, device=device)
        sums = torch.zeros(len(FIGURES), dtype=torch.float64, device=device)
        size = self.settings.micro_batch_size
        for first in range(0, len(packs), size):
            batch = collate(self.rows, np.concatenate(packs[first : first + size]), device)
            with torch.autocast(device.type, torch.bfloat16, enabled=self.settings.precision == "bf16"):
                loss, figures = self._loss(batch)
            (loss / weight).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
            if figures is not None:
                sums += figures
        return float(total) / weight, None if self.on_policy is None else sums.tolist()

    def _loss(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Sum over the micro-batch, and in an on-policy training the sums of FIGURES."""
        how: dict[str, Any] = {
            "attention": self.attention,
            "plain_head": self.plain_head,
            "loss_logits": self.loss_logits,
        }
        if self.on_policy is None:
            return weighted_nll(self.model, batch, **how), None
        return on_policy_loss(self.model, batch, self.on_policy, **how)

    def _clear(self) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
