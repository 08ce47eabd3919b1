"""The DeepSpeed engine around a model: its configuration, its optimiser, its gradients and weights in whole.

What ZeRO has divided is read and written one whole parameter at a time, through DeepSpeed's public functions
for that. Those are collective: every process calls them for the same parameters in the same order.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from math import ceil
from typing import Any

import deepspeed
import torch
from deepspeed import comm
from deepspeed.utils import (
    safe_get_full_fp32_param,
    safe_get_full_optimizer_state,
    safe_set_full_fp32_param,
    safe_set_full_optimizer_state,
    safe_set_local_fp32_param,
    safe_set_local_optimizer_state,
)
from deepspeed.utils.mixed_precision_linkage import lazy_init_hp_params_optimizer_state
from torch import Tensor, nn

from dasd.api import InputError, TrainerSettings
from dasd.api.training import make_optimizers
from dasd_deepspeed.options import DeepSpeedOptions

MOMENTS = ("exp_avg", "exp_avg_sq")
"""AdamW's state of a parameter, as torch and DeepSpeed name it."""


def configuration(options: DeepSpeedOptions, settings: TrainerSettings, world: int) -> dict[str, Any]:
    """DeepSpeed's own configuration for these options."""
    zero: dict[str, Any] = {"stage": options.zero_stage}
    if options.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu"}
    if options.offload == "parameters":
        zero["offload_param"] = {"device": "cpu"}
    micro = settings.micro_batch_size
    # bf16 would lose small gradients when many are added. ZeRO-1 would choose another optimiser for it.
    data_types = {"grad_accum_dtype": "fp32"} if options.zero_stage > 1 else {}
    return {
        "train_micro_batch_size_per_gpu": micro,
        # A step's real number of micro-batches may be smaller; the loop itself says which one is the last.
        "gradient_accumulation_steps": ceil(settings.batch_size / (micro * world)),
        "zero_optimization": zero,
        "data_types": data_types,
        "bf16": {
            "enabled": settings.precision == "bf16" and options.zero_stage > 0,
            "check_grad_overflow": True,
        },
        # ZeRO keeps gradients divided, so it clips them; without ZeRO the loop does.
        "gradient_clipping": settings.clip if options.zero_stage > 0 else 0.0,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 2**31,
    }


def apply_liger(model: Any, choice: str, device: torch.device) -> bool:
    """Put Liger's kernels into ``model``, all but those for the loss, which is this project's own.

    True if it was done. Raises InputError for ``on`` without the package or without a GPU.
    """
    there = find_spec("liger_kernel") is not None and device.type == "cuda"
    if choice == "on" and not there:
        raise InputError(
            f"trainer.options.liger: on needs a GPU and the package liger-kernel (pip install liger-kernel); "
            f"the device is {device.type}. Use auto or off."
        )
    if choice == "off" or not there:
        return False
    from liger_kernel.transformers import _apply_liger_kernel_to_instance

    _apply_liger_kernel_to_instance(model=model, cross_entropy=False, fused_linear_cross_entropy=False)
    return True


class _Called(nn.Module):
    """Lets the engine run any function of the model as its forward pass, within its hooks."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[..., Any], *arguments: object) -> Any:
        return function(self.model, *arguments)


class _LeavesHidden(torch.optim.Optimizer):
    """Leaves groups marked ``hidden`` alone: their matrices are Muon's."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            if group.get("hidden"):
                for parameter in group["params"]:
                    parameter.grad = None
        return super().step(closure)


class _AdamW(_LeavesHidden, torch.optim.AdamW):
    """torch's AdamW, but for hidden matrices."""


class Engine:
    """A model in training under DeepSpeed."""

    def __init__(
        self, model: Any, options: DeepSpeedOptions, settings: TrainerSettings, device: torch.device
    ) -> None:
        """Divide ``model`` as ``options`` say. Collective."""
        self.model = model
        self.stage: int = options.zero_stage
        self.rank: int = comm.get_rank()
        self.world: int = comm.get_world_size()
        self.parameters: dict[str, Any] = {n: p for n, p in model.named_parameters() if p.requires_grad}
        """Every trained parameter once, by its name in ``model``."""
        made = make_optimizers(model, settings)
        hidden = {id(p) for group in made[1].param_groups for p in group["params"]} if made[1:] else set()
        self.matrices: dict[str, Any] = {n: p for n, p in self.parameters.items() if id(p) in hidden}
        """Those of them that Muon trains; empty for AdamW."""
        groups = [
            {"params": g["params"], "weight_decay": g["weight_decay"]}
            for g in made[0].param_groups
            if g["params"]
        ]
        if hidden:
            groups.append({"params": [*self.matrices.values()], "weight_decay": 0.0, "hidden": True})
        self._linked = False
        self.optimizer = _adamw(groups, options, settings, device)
        self.engine, *_ = deepspeed.initialize(
            model=_Called(model),
            optimizer=self.optimizer,
            config=configuration(options, settings, self.world),
            dist_init_required=False,
        )

    def forward(self, function: Callable[..., Any], *arguments: object) -> Any:
        """``function(model, *arguments)`` as a forward pass."""
        return self.engine(function, *arguments)

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add the gradients of ``loss``, averaged over the processes; ``last``: of this step."""
        self.engine.set_gradient_accumulation_boundary(last)
        self.engine.backward(loss, scale_wrt_gas=False)

    def step(self, rate: float, clip: float) -> float:
        """Clip and apply the gradients; returns their norm. If that isn't finite, no weight has changed."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if self.stage == 0:
            norm = float(nn.utils.clip_grad_norm_([*self.parameters.values()], clip))
            if not torch.tensor(norm).isfinite():
                return norm
            self.engine.step()
            return norm
        self.engine.step()
        if self.stage < 3 and not self._linked:
            self._link_moments()
        return float(self.engine.get_global_grad_norm())

    def _link_moments(self) -> None:
        """Let every parameter find its moments: DeepSpeed 0.19 does so for the first group alone."""
        zero = self.engine.optimizer
        for group, flat in zip(zero.bit16_groups, zero.single_partition_of_fp32_groups, strict=True):
            lazy_init_hp_params_optimizer_state(group, flat, self.optimizer.state)
        self._linked = True

    # -- one whole parameter at a time -------------------------------------------------------------

    def weight(self, parameter: Any) -> Tensor:
        """The float32 master weight in whole, on this device. Collective."""
        full: Tensor = parameter if self.stage == 0 else safe_get_full_fp32_param(parameter)
        return full.detach().float()

    def moment(self, parameter: Any, kind: str) -> Tensor:
        """AdamW's ``exp_avg`` or ``exp_avg_sq`` in whole. Collective; only after a step."""
        if self.stage == 0:
            state: Tensor = self.optimizer.state[parameter][kind]
            return state
        full: Tensor = safe_get_full_optimizer_state(parameter, kind)
        return full

    @torch.no_grad()
    def set_weight(self, parameter: Any, value: Tensor) -> None:
        """Replace master weight and the copy that the forward pass uses. Collective."""
        if self.stage == 3:
            safe_set_local_fp32_param(parameter, self._own_part(parameter, value))
            with deepspeed.zero.GatheredParameters([parameter], modifier_rank=0):
                if self.rank == 0:
                    parameter.data.copy_(value)
            return
        if self.stage > 0:
            safe_set_full_fp32_param(parameter, value)
        parameter.data.copy_(value)

    @torch.no_grad()
    def set_moment(self, parameter: Any, kind: str, value: Tensor) -> None:
        """Replace one of AdamW's moments. Collective; only after a step."""
        if self.stage == 3:
            safe_set_local_optimizer_state(parameter, self._own_part(parameter, value), kind)
        elif self.stage > 0:
            safe_set_full_optimizer_state(parameter, value, kind)
        else:
            self.optimizer.state[parameter][kind].copy_(value)

    def set_adam_step(self, step: int) -> None:
        """Let AdamW's bias correction go on after step ``step``."""
        for state in self.optimizer.state.values():
            if isinstance(state.get("step"), Tensor):
                state["step"].fill_(step)
            elif "step" in state:
                state["step"] = step

    def _own_part(self, parameter: Any, value: Tensor) -> Tensor:
        """What of ``value`` lies on this process under ZeRO-3, which pads to equal parts."""
        size = parameter.ds_tensor.numel()
        padded = torch.zeros(size * self.world, dtype=value.dtype, device=value.device)
        padded[: value.numel()] = value.flatten()
        return padded[self.rank * size : (self.rank + 1) * size]


def _adamw(
    groups: list[dict[str, Any]], options: DeepSpeedOptions, settings: TrainerSettings, device: torch.device
) -> Any:
    torch_adam = options.torch_adam
    if torch_adam is None:
        torch_adam = options.offload == "none" or device.type == "cpu"
    if torch_adam:
        # Fused kernels want all parts on the device that they were made for.
        fused = options.offload == "none" or device.type == "cpu"
        return _AdamW(groups, lr=settings.learning_rate, betas=settings.betas, fused=fused)
    from deepspeed.ops.adam import DeepSpeedCPUAdam

    class _CPUAdam(_LeavesHidden, DeepSpeedCPUAdam):  # type: ignore[misc]
        """DeepSpeed's AdamW, but for hidden matrices."""

    made: Any = _CPUAdam
    return made(groups, lr=settings.learning_rate, betas=settings.betas, adamw_mode=True)
