"""One optimiser step after the other, the packs of each divided over the processes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import torch
from deepspeed import comm
from torch import Tensor

from dasd.api import OnPolicyLoss, TrainerSettings, TrainProgress
from dasd.api.training import (
    FIGURES,
    Batch,
    Guard,
    Position,
    TrainPlan,
    TrainRows,
    collate,
    learning_rate,
    not_finite,
    on_policy_loss,
    own_figures,
    seed_of,
    step_weight,
    weighted_nll,
)
from dasd_deepspeed.engine import Engine
from dasd_deepspeed.muon import DividedMuon


@dataclass
class Loop:
    """A training in progress on one of its processes."""

    engine: Engine
    muon: DividedMuon
    rows: TrainRows
    plan: TrainPlan
    settings: TrainerSettings
    seed: int
    attention: str
    plain_head: bool
    loss_logits: int
    device: torch.device
    position: Position
    on_policy: OnPolicyLoss | None = None
    guard: Guard | None = None
    """Of an on-policy training."""
    part: int = 1
    parts: int = 1

    def steps(self) -> Iterator[TrainProgress]:
        """Take the steps that are left; yields after each one, on every process alike. Collective.

        Raises TrainingError before the weights change if loss or gradients are not finite, or the guard stops it.
        """
        for step in range(self.position.step + 1, self.plan.steps + 1):
            yield self._step(step)

    def warm_up(self) -> None:
        """A step at learning rate zero: makes the optimisers' state, which ``load_state`` then fills."""
        self._accumulate(self.plan.step_packs(1))
        self._update(0.0)

    def _step(self, step: int) -> TrainProgress:
        started = time.perf_counter()
        # As in the built-in trainer: random numbers (dropout) follow from the step alone. Each process has its own.
        rank = (self.engine.rank,) if self.engine.rank else ()
        torch.manual_seed(seed_of(self.seed, "step", step, *rank))
        packs = self.plan.step_packs(step)
        rate = learning_rate(step, self.plan.steps, self.settings, part=self.part, parts=self.parts)
        loss, sums = self._accumulate(packs)
        figures = None if sums is None or self.on_policy is None else own_figures(sums, self.on_policy)
        if self.guard is not None and math.isfinite(loss):
            self.guard.check(step, self.plan.steps, figures, rate)
        grad_norm = self._update(rate) if math.isfinite(loss) else math.nan
        if not math.isfinite(grad_norm):
            raise not_finite(
                step=step,
                steps=self.plan.steps,
                loss=loss,
                grad_norm=grad_norm,
                rate=rate,
                sample_ids=[self.rows.sample_ids[int(row)] for row in np.concatenate(packs)],
            )
        seen = int(self.rows.lengths[np.concatenate(packs)].sum())
        self.position = Position(
            step=step,
            tokens=self.position.tokens + seen,
            seconds=self.position.seconds + time.perf_counter() - started,
        )
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
        """Gradients of the step's loss, as the built-in trainer has it.

        Returns the loss and, of an on-policy training, the sums FIGURES, of all processes.
        """
        world = self.engine.world
        weight = step_weight(self.rows, np.concatenate(packs))
        size = self.settings.micro_batch_size
        own = packs[self.engine.rank :: world]
        # ZeRO's passes are collective: a process with fewer packs repeats one and counts it for nothing.
        passes = ceil(ceil(len(packs) / world) / size)
        total = torch.zeros(1 + len(FIGURES), dtype=torch.float64, device=self.device)
        for number in range(passes):
            chosen = own[number * size : (number + 1) * size]
            batch = collate(self.rows, np.concatenate(chosen or packs[:1]), self.device)
            loss, figures = self.engine.forward(self._loss, batch)
            # DeepSpeed averages gradients over the processes; wanted is their sum.
            share = world / weight if chosen else 0.0
            self.engine.backward(loss * share, last=number == passes - 1)
            if chosen:
                total[0] += loss.detach()
                total[1:] += figures
        comm.all_reduce(total)
        return float(total[0]) / weight, None if self.on_policy is None else total[1:].tolist()

    def _loss(self, model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        """Sum over the micro-batch, and the sums of FIGURES: nothing where the training isn't on-policy."""
        # ZeRO trains a bf16 copy; without ZeRO the float32 weights run under autocast.
        autocast = self.settings.precision == "bf16" and self.engine.stage == 0
        with torch.autocast(self.device.type, torch.bfloat16, enabled=autocast):
            how: dict[str, Any] = {
                "attention": self.attention,
                "plain_head": self.plain_head,
                "loss_logits": self.loss_logits,
            }
            if self.on_policy is not None:
                return on_policy_loss(model, batch, self.on_policy, **how)
            return weighted_nll(model, batch, **how), torch.zeros(len(FIGURES), device=self.device)

    def _update(self, rate: float) -> float:
        """Apply the gradients; returns their norm. If that isn't finite, no weight has changed."""
        self.muon.take_gradients()
        norm = self.engine.step(rate, self.settings.clip)
        if math.isfinite(norm):
            self.muon.step(rate, norm)
        return norm
