"""vLLM's failures in our words: what ran out, and which option to change."""

from __future__ import annotations

import re

from dasd.api import BackendError, DasdError, InputError, ModelSettings

__all__ = ["cannot_start", "is_out_of_memory", "summary"]

_MEMORY = re.compile(r"out of memory|can't allocate memory|cannot allocate memory|not enough memory", re.I)
_CACHE = re.compile(r"KV ?cache|cache blocks|available memory|free memory", re.I)
_LONGER = re.compile(r"max_model_len|max seq(uence)? len", re.I)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: by its type, or by what the engine's processes say of it."""
    import torch

    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, (torch.OutOfMemoryError, MemoryError)) or _MEMORY.search(str(seen)):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def summary(error: BaseException) -> str:
    """The error's type and its text on one line, without pydantic's decoration."""
    text = re.sub(r"\[type=.*", "", str(error), flags=re.S)
    text = " ".join(re.sub(r"^\d+ validation errors? for .*$", "", text, flags=re.M).split())
    return f"{type(error).__name__}: {text[:600]}" if text else type(error).__name__


def cannot_start(settings: ModelSettings, error: BaseException) -> DasdError:
    """The error to raise where the engine doesn't start: InputError where the recipe can mend it."""
    text = summary(error)
    start = f"backend 'vllm' can't start {settings.model}: {text}"
    if _CACHE.search(text) or is_out_of_memory(error):
        return InputError(
            f"{start}\nThe key-value cache has to fit into free memory and hold one text as long as the context: "
            "set options.kv_cache_memory_mib, options.max_model_len (lower needs less) or, on a GPU, "
            "options.gpu_memory_utilization"
        )
    if _LONGER.search(text):
        return InputError(f"{start}\nLower options.max_model_len; null takes the model's own context")
    return BackendError(start)
