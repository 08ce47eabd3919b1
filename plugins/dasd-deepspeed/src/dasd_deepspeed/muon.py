"""Muon under ZeRO: its update needs whole matrices, which ZeRO divides.

Every matrix has an owner among the processes, which keeps its float32 weight and momentum. A step gathers the
matrix's gradient for the owner, who updates with torch's own Muon and sends the new weight to all. So memory is
divided as with ZeRO, and the numbers are those of the built-in trainer at every stage.
"""

from __future__ import annotations

from typing import Any

import torch
from deepspeed import comm
from deepspeed.utils import safe_get_full_grad
from torch import Tensor, nn

from dasd.api import TrainerSettings
from dasd_deepspeed.engine import Engine


class DividedMuon:
    """Muon for ``engine.matrices``; does nothing where there are none."""

    def __init__(self, engine: Engine, settings: TrainerSettings) -> None:
        """Take the owned matrices' weights from ``engine``. Collective."""
        self._engine = engine
        self._clip = settings.clip
        self._owners = {name: i % engine.world for i, name in enumerate(engine.matrices)}
        self._owned: dict[str, nn.Parameter] = {}
        for name, parameter in engine.matrices.items():
            weight = engine.weight(parameter)
            if self._owners[name] == engine.rank:
                self._owned[name] = nn.Parameter(weight.clone())
        self._muon = (
            torch.optim.Muon(
                self._owned.values(),
                lr=settings.learning_rate,
                weight_decay=settings.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
            if self._owned
            else None
        )

    def take_gradients(self) -> None:
        """Keep the step's gradients of the owned matrices, not yet clipped. Collective; before ``step``."""
        for name, parameter in self._engine.matrices.items():
            gradient = safe_get_full_grad(parameter)
            if name in self._owned:
                self._owned[name].grad = gradient.detach().float().clone()

    def step(self, rate: float, norm: float) -> None:
        """Update with gradients clipped by ``norm``, that of all gradients of the model. Collective."""
        for matrix in self._owned.values():
            assert matrix.grad is not None
            matrix.grad.mul_(min(1.0, self._clip / (norm + 1e-6)))
        if self._muon is not None:
            for group in self._muon.param_groups:
                group["lr"] = rate
            self._muon.step()  # type: ignore[no-untyped-call]
            self._muon.zero_grad(set_to_none=True)
        for name, parameter in self._engine.matrices.items():
            self._engine.set_weight(parameter, self._sent(name, parameter))

    def momentum(self, name: str) -> Tensor:
        """Momentum of the matrix of that name, which this process owns."""
        assert self._muon is not None
        buffer: Tensor = self._muon.state[self._owned[name]]["momentum_buffer"]
        return buffer

    def owns(self, name: str) -> bool:
        """Whether this process keeps that matrix."""
        return name in self._owned

    @torch.no_grad()
    def restore(self, name: str, weight: Tensor, momentum: Tensor) -> None:
        """Replace weight and momentum of a matrix that this process owns."""
        assert self._muon is not None
        matrix = self._owned[name]
        matrix.copy_(weight)
        self._muon.state[matrix]["momentum_buffer"] = momentum.to(matrix.device).clone()

    def _sent(self, name: str, parameter: Any) -> Tensor:
        shape = getattr(parameter, "ds_shape", parameter.shape)
        value = (
            self._owned[name].detach()
            if name in self._owned
            else torch.empty(shape, dtype=torch.float32, device=parameter.device)
        )
        comm.broadcast(value, self._owners[name])
        return value
