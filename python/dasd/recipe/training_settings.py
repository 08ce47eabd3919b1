"""Section ``trainer``: hyper-parameters, and the adapter where one is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue, ValidationInfo, field_validator

from dasd.recipe.section import Section

__all__ = ["LoraSettings", "TrainerSettings"]


class LoraSettings(Section):
    """The adapter of `trainer.adapter: lora`: two narrow matrices beside each adapted layer (arXiv 2106.09685)."""

    rank: int = Field(16, ge=1, description="Width of the two matrices.")
    alpha: int = Field(32, ge=1, description="Their product is added times alpha / rank.")
    targets: tuple[str, ...] = Field(
        (),
        strict=False,
        description="Linear layers that get an adapter, by name or by the end of their path (`q_proj`, "
        "`mlp.down_proj`); none named: all but the head.",
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the first of the two matrices.")


class TrainerSettings(Section):
    """Hyper-parameters of every training stage; a stage may override any of them."""

    trainer: str = Field("torch", description="Trainer, by its registered name.")
    epochs: float = Field(6.0, gt=0, description="Passes over the selected responses.")
    max_steps: int | None = Field(None, ge=1, description="Stop after this many optimiser steps.")
    optimizer: Literal["adamw", "muon"] = Field("adamw", description="torch's AdamW, or Muon for matrices.")
    adapter: Literal["lora"] | None = Field(
        None,
        description="`lora`: train an adapter (section `lora`, package peft) beside frozen weights and merge it "
        "into the checkpoint; null: train all weights.",
    )
    lora: LoraSettings = Field(
        default_factory=LoraSettings, description="What `adapter: lora` trains; keys of a stage add to these."
    )
    learning_rate: float = Field(5e-5, gt=0, description="Peak learning rate.")
    min_learning_rate: float = Field(
        1e-5, ge=0, validate_default=True, description="Where the cosine ends; at most the peak."
    )
    warmup_ratio: float = Field(0.1, ge=0, lt=1, description="Share of the steps with a linear warm-up.")
    betas: tuple[float, float] = Field((0.9, 0.95), strict=False, description="AdamW's betas.")
    weight_decay: float = Field(0.1, ge=0, description="Decoupled weight decay.")
    clip: float = Field(1.0, gt=0, description="Gradient norm at which gradients are clipped.")
    batch_size: int = Field(64, ge=1, description="Packs in an optimiser step.")
    micro_batch_size: int = Field(1, ge=1, description="Packs in a forward pass; the rest is accumulated.")
    max_length: int = Field(65536, ge=8, description="Tokens in a pack; also the longest response kept.")
    packing: bool = Field(True, description="Fill packs with several responses, isolated from one another.")
    precision: Literal["fp32", "bf16"] = Field(
        "bf16", description="Data type of the forward and backward pass."
    )
    gradient_checkpointing: bool = Field(False, description="Recompute activations: less memory, more time.")
    save_every: int = Field(100, ge=1, description="Optimiser steps between two saved states.")
    device: str = Field("auto", description="`auto`, `cpu`, `cuda` or `cuda:N`.")
    options: dict[str, JsonValue] = Field(default_factory=dict, description="The trainer's own options.")

    @field_validator("adapter")
    @classmethod
    def _not_with_muon(cls, adapter: str | None, info: ValidationInfo) -> str | None:
        if adapter is not None and info.data.get("optimizer") == "muon":
            raise ValueError(
                "wanted optimizer: adamw beside an adapter, got muon: it orthogonalises the update of a whole "
                "matrix, and the two narrow ones of an adapter are no such matrices"
            )
        return adapter

    @field_validator("min_learning_rate")
    @classmethod
    def _below_the_peak(cls, minimum: float, info: ValidationInfo) -> float:
        peak = info.data.get("learning_rate")  # absent where it is wrong itself
        if peak is not None and minimum > peak:
            raise ValueError(
                f"wanted at most learning_rate = {peak:g}, as the cosine goes down to it; got {minimum:g}: "
                "set both"
            )
        return minimum

    def result_keys(self) -> dict[str, JsonValue]:
        """Keys that change what comes out: not where it trains or how often it saves; of adapters where one is trained.

        So a training of all weights is the same one whatever there is to say of adapters.
        """
        unused = {"adapter", "lora"} if self.adapter is None else set()
        return self.model_dump(mode="json", exclude={"device", "save_every", *unused})
