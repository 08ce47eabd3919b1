"""Sections ``teacher`` and ``student``: a model and the backend that runs it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from dasd.recipe.section import Section

__all__ = ["CPU_BATCH_SIZE", "CPU_TOKEN_BUDGET", "ModelSettings"]

CPU_BATCH_SIZE = 32
"""``batch_size`` on a CPU where the recipe says nothing, and of whoever knows nothing better."""
CPU_TOKEN_BUDGET = 16_384
"""``token_budget`` likewise."""


class ModelSettings(Section):
    """A model and the backend that runs it."""

    model: str = Field(
        description="A Hugging Face model directory or name, or one of the models that ship with dasd: "
        "`dasd:mini-teacher`, `dasd:mini-student`, `dasd:mini-sibling`."
    )
    backend: str = Field("transformers", description="Inference backend, by its registered name.")
    python: str | None = Field(
        None,
        description="Python of another environment in which this model's engine runs, or the directory of a "
        "virtual environment; dasd of the same version and the backend's plugin have to be installed there.",
    )
    revision: str | None = Field(None, description="Revision of a named model; a directory has none.")
    precision: Literal["fp32", "bf16"] = Field("bf16", description="Data type that the weights run in.")
    device: str = Field("auto", description="`auto`, `cpu`, `cuda` or `cuda:N`.")
    batch_size: int | None = Field(
        None,
        ge=1,
        description="Responses decoded together; null: what the engine chooses for its device (built-in: 32 on a CPU, "
        "on a GPU as many as fit, at most 256).",
    )
    token_budget: int | None = Field(
        None,
        ge=16,
        description="Tokens in one forward pass while scoring; longer texts are scored in chunks. null: what the "
        "engine chooses for its device (built-in: 16384 on a CPU, on a GPU what fits, at most 131072).",
    )
    trust_remote_code: bool = Field(
        False, description="Run code that comes with the model. Off unless you trust it."
    )
    chat_template_options: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="Variables of the model's chat template, such as `enable_thinking: false`; for gpt-oss "
        "`reasoning_effort`: `low`, `medium` (the default) or `high`.",
    )
    options: dict[str, JsonValue] = Field(
        default_factory=dict, description="The backend's own options, checked by the backend."
    )
