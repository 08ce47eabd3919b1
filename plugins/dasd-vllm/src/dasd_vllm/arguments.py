"""From the recipe's settings to the arguments of vLLM's engine."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any

from dasd.api import CPU_BATCH_SIZE, CPU_TOKEN_BUDGET, InputError, ModelSettings
from dasd_vllm.environment import on_cpu
from dasd_vllm.options import VllmOptions

__all__ = ["batched_tokens", "engine_args", "under_way"]

_PASS = 2048
"""Tokens in a forward pass where the recipe or a CPU bounds it: over a vocabulary of 150,000 the log-probabilities of
given ones take 1.2 GB in float32, and as much again while they are made; vLLM doesn't set that memory aside."""
_CPU_CACHE_MIB = 512


def under_way(token_budget: int | None) -> int:
    """Tokens under way while scoring: vLLM divides them into its own passes, on every device."""
    return token_budget or CPU_TOKEN_BUDGET


def batched_tokens(settings: ModelSettings, options: VllmOptions) -> int | None:
    """Tokens in one forward pass, where nothing has run out of memory yet; None: what vLLM chooses for its GPU."""
    if options.max_num_batched_tokens is not None:
        return options.max_num_batched_tokens
    if settings.token_budget is None and not on_cpu():
        return None
    return max(min(under_way(settings.token_budget), _PASS), _together(settings, options) or 1)


def _together(settings: ModelSettings, options: VllmOptions) -> int | None:
    """Responses decoded together at most; None: what vLLM chooses for its GPU."""
    return options.max_num_seqs or settings.batch_size or (CPU_BATCH_SIZE if on_cpu() else None)


def engine_args(settings: ModelSettings, options: VllmOptions, path: str, batched: int | None) -> Any:
    """vLLM's ``EngineArgs`` for the model at ``path``, with ``batched`` tokens in a forward pass; None: vLLM's choice.

    Raises InputError for a name in ``options.engine`` that this version of vLLM doesn't have.
    """
    from vllm import EngineArgs

    known = {field.name for field in dataclasses.fields(EngineArgs)}
    for name in options.engine:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise InputError(
                f"options.engine.{name}: vLLM's EngineArgs has no such argument"
                + (f"; did you mean {close[0]}?" if close else "")
            )
    cpu = on_cpu()
    together = _together(settings, options)
    cache = options.kv_cache_memory_mib or (_CPU_CACHE_MIB if cpu else None)
    chosen: dict[str, Any] = {
        "model": path,
        "revision": settings.revision,
        "tokenizer_revision": settings.revision,
        "trust_remote_code": settings.trust_remote_code,
        "dtype": {"fp32": "float32", "bf16": "bfloat16"}[settings.precision],
        "tensor_parallel_size": options.tensor_parallel_size,
        "pipeline_parallel_size": options.pipeline_parallel_size,
        "max_num_seqs": min(together, batched) if together and batched else together,
        "max_num_batched_tokens": batched,
        "enforce_eager": cpu if options.enforce_eager is None else options.enforce_eager,
        "logprobs_mode": "raw_logprobs",
        # It sets no memory aside for them, and how many are wanted isn't known yet.
        "max_logprobs": -1,
        "enable_prefix_caching": True,
        "enable_chunked_prefill": True,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        "seed": 0,
    }
    given = {
        "kv_cache_memory_bytes": cache and cache * 2**20,
        "gpu_memory_utilization": options.gpu_memory_utilization,
        "max_model_len": options.max_model_len,
        "quantization": options.quantization,
    }
    chosen |= {name: value for name, value in given.items() if value is not None}
    return EngineArgs(**{**chosen, **options.engine})
