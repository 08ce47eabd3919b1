"""The trainer's own options (``trainer.options`` of a recipe)."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dasd.api import RecipeError, TrainerSettings

LAUNCH_ONLY = frozenset(
    {
        "hosts",
        "processes",
        "zero_stage",
        "offload",
        "hostfile",
        "master_port",
        "torch_adam",
        "timeout_minutes",
    }
)
"""Options that say where a training runs and how it is divided, not what comes out: they may change between
two starts of one training."""


class DeepSpeedOptions(BaseModel):
    """Options of trainer ``deepspeed``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    processes: int | None = Field(
        None, ge=1, description="Processes on each host; null: one a GPU, on a CPU one. Not with `hostfile`."
    )
    hosts: int | None = Field(
        None,
        ge=1,
        json_schema_extra={"speed": True},
        description="Hosts of the recipe's executor, which starts the processes there; null: this host alone. The run "
        "directory must be on a file system that all hosts share.",
    )
    zero_stage: Literal[0, 1, 2, 3] = Field(
        2,
        description="What ZeRO divides over the processes: 0 nothing, 1 optimiser state, 2 gradients too, "
        "3 parameters too.",
    )
    offload: Literal["none", "optimizer", "parameters"] = Field(
        "none",
        description="What lies in host memory instead of the GPU's: `optimizer` state (ZeRO-1 to 3), or "
        "`parameters` and optimiser state (ZeRO-3).",
    )
    hostfile: str | None = Field(
        None,
        description="File with a line `HOST slots=N` for every host: processes are started there through "
        "DeepSpeed's launcher. The run directory must be on a file system that all hosts share.",
    )
    master_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Port at which the processes find each other; null: a free one, with `hostfile` 29500.",
    )
    torch_adam: bool | None = Field(
        None,
        description="torch's AdamW (true) or DeepSpeed's for the CPU (false), which is compiled at its first "
        "use. null: DeepSpeed's where optimiser state is offloaded from a GPU, else torch's.",
    )
    timeout_minutes: float = Field(
        30.0,
        gt=0,
        description="How long a process waits for the others before the training ends in an error.",
    )
    liger: Literal["auto", "on", "off"] = Field(
        "auto", description="Liger kernels. `auto`: on a GPU where the package liger-kernel is installed."
    )
    attention: Literal["auto", "segments", "flash_attention_2", "sdpa", "eager"] = Field(
        "auto", description="How packed responses are kept apart; as in trainer `torch`."
    )
    loss_logits: int = Field(
        2**25,
        ge=1,
        description="Logits held at once for the loss; more trained tokens than that are taken in chunks.",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.offload == "optimizer" and self.zero_stage == 0:
            raise ValueError("offload: optimizer needs zero_stage 1, 2 or 3; got 0")
        if self.offload == "parameters" and self.zero_stage != 3:
            raise ValueError(f"offload: parameters needs zero_stage 3; got {self.zero_stage}")
        if self.hostfile is not None and self.processes is not None:
            raise ValueError("processes and hostfile can't both be set: the hostfile's slots say how many")
        if self.hostfile is not None and self.hosts is not None:
            raise ValueError(
                "hosts and hostfile can't both be set: either the executor or ssh starts the processes"
            )
        return self


def options_of(settings: TrainerSettings) -> DeepSpeedOptions:
    """The checked options in ``settings``. Raises RecipeError."""
    try:
        return DeepSpeedOptions.model_validate(settings.options)
    except ValueError as error:
        raise RecipeError(f"trainer.options of trainer 'deepspeed': {error}") from error
