"""Plugin ``openai``: a teacher behind any OpenAI-compatible server."""

from __future__ import annotations

from importlib.metadata import version

from dasd.api import ModelSettings, Registry, Teacher, hookimpl
from dasd_openai.options import OpenAIOptions

__version__ = version("dasd-openai")


@hookimpl
def dasd_register(registry: Registry) -> None:
    """Register the teacher ``openai``."""
    registry.teacher(
        "openai",
        _openai,
        options=OpenAIOptions,
        doc="Asks a model behind an OpenAI-compatible server: vLLM, SGLang, llama.cpp, hosted.",
        # A student changes with every training; a server goes on serving what it was started with.
        runs_student=False,
        concurrency="concurrency",
        engines="base_url",
    )


def _openai(settings: ModelSettings) -> Teacher:
    from dasd_openai.teacher import OpenAITeacher

    return OpenAITeacher(settings, OpenAIOptions.model_validate(settings.options))
