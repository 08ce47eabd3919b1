"""Plugin ``vllm``: teacher and student on vLLM's offline engine, in this process."""

from __future__ import annotations

from importlib.metadata import version

from dasd.api import ModelSettings, Registry, Teacher, hookimpl
from dasd_vllm.options import VllmOptions

__all__ = ["VllmOptions", "dasd_register"]

__version__ = version("dasd-vllm")


@hookimpl
def dasd_register(registry: Registry) -> None:
    """Register the teacher ``vllm``."""
    registry.teacher(
        "vllm",
        _vllm,
        options=VllmOptions,
        doc="vLLM's offline engine in this process: continuous batching, raw log-probabilities, many GPUs.",
        gives_top=True,
        loads_model=True,
        concurrency="max_num_seqs",
    )


def _vllm(settings: ModelSettings) -> Teacher:
    from dasd_vllm.environment import prepare

    prepare()
    from dasd_vllm.teacher import VllmTeacher

    return VllmTeacher(settings, VllmOptions.model_validate(settings.options))
