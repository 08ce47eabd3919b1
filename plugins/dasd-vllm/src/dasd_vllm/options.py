"""Options of the backend ``vllm``: light, so that a recipe is checked without loading the engine."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

__all__ = ["OWN", "VllmOptions"]

OWN = {
    "model": "`model`",
    "tokenizer": "`model`",
    "revision": "`revision`",
    "tokenizer_revision": "`revision`",
    "trust_remote_code": "`trust_remote_code`",
    "dtype": "`precision`",
    "kv_cache_memory_bytes": "`options.kv_cache_memory_mib`",
    "logprobs_mode": "nothing: log-probabilities are always raw",
    "seed": "nothing: every request has a seed of its own, from the recipe's",
    "disable_log_stats": "nothing: the engine's own statistics are not read",
}
"""Arguments of vLLM that ``engine`` may not hold, each with what sets it."""


class VllmOptions(BaseModel):
    """Options of the backend ``vllm``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tensor_parallel_size: int = Field(1, ge=1, description="GPUs that share each layer.")
    pipeline_parallel_size: int = Field(1, ge=1, description="Groups of GPUs that share the layers.")
    gpu_memory_utilization: float | None = Field(
        None, gt=0, le=1, description="Share of a GPU's memory that vLLM takes; null: vLLM's own default."
    )
    kv_cache_memory_mib: int | None = Field(
        None,
        ge=1,
        description="Memory for the key-value cache in MiB; null: 512 on a CPU, and what "
        "`gpu_memory_utilization` leaves on a GPU.",
    )
    max_model_len: int | None = Field(
        None, ge=8, description="Context in tokens, at most the model's; null: the model's."
    )
    max_num_seqs: int | None = Field(
        None,
        ge=1,
        description="Responses decoded together at most; null: the model's `batch_size`, and without one 32 on a CPU "
        "and vLLM's own on a GPU.",
    )
    max_num_batched_tokens: int | None = Field(
        None,
        ge=16,
        description="Tokens in one forward pass at most; null: the model's `token_budget`, but at most 2048, "
        "and at least `max_num_seqs`; on a GPU, without a `token_budget`, vLLM's own.",
    )
    enforce_eager: bool | None = Field(
        None, description="Run without compiling and CUDA graphs; null: true on a CPU, false on a GPU."
    )
    quantization: str | None = Field(
        None, description="How the weights are quantised, by vLLM's name; null: as the model's config says."
    )
    engine: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="Further arguments of vLLM's `EngineArgs`, by their own names, e.g. "
        "`enable_expert_parallel: true`.",
    )

    @field_validator("engine")
    @classmethod
    def _not_what_has_a_key(cls, engine: dict[str, JsonValue]) -> dict[str, JsonValue]:
        for name in engine:
            if name in OWN:
                raise ValueError(f"{name} is set by {OWN[name]}; take it out of `engine`")
            if name in cls.model_fields:
                raise ValueError(f"{name} is an option of its own; take it out of `engine`")
        return engine
