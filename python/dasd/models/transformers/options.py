"""Options of the built-in backends: light, so that a recipe is checked without loading an engine."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["TransformersOptions"]


class TransformersOptions(BaseModel):
    """Options of the backend ``transformers``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    attention: Literal["sdpa", "eager", "flash_attention_2"] = Field(
        "sdpa", description="Attention implementation; `flash_attention_2` needs its package and a GPU."
    )
