"""The torch trainer's own options (``trainer.options`` of a recipe)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TorchOptions(BaseModel):
    """Options of trainer ``torch``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    attention: Literal["auto", "segments", "flash_attention_2", "sdpa", "eager"] = Field(
        "auto",
        description="How packed responses are kept apart. `segments`: causal attention row by row, no mask, "
        "any device; `flash_attention_2`: the flash-attn package (CUDA, bf16); `sdpa`, `eager`: a mask "
        "of the whole forward pass, for models whose attention is special. `auto`: flash-attn where it is "
        "installed and usable, else `segments`.",
    )
    loss_logits: int | None = Field(
        None,
        ge=1,
        description="Logits held at once for the loss; more trained tokens than that are taken in chunks. "
        "null: 2^28 on a GPU (8 bytes each), else 2^25.",
    )
