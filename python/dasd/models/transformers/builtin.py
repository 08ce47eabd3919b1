"""Built-in inference backends, registered through the same hook as any plugin's."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dasd.errors import PluginError
from dasd.plugins.components import Options
from dasd.plugins.registry import Registry
from dasd.plugins.roles import Teacher, hookimpl
from dasd.recipe.model_settings import ModelSettings

__all__ = ["TransformersOptions", "dasd_register"]


class TransformersOptions(Options):
    """Options of the backend ``transformers``."""

    attention: Literal["sdpa", "eager", "flash_attention_2"] = Field(
        "sdpa", description="Attention implementation; `flash_attention_2` needs its package and a GPU."
    )


@hookimpl
def dasd_register(registry: Registry) -> None:
    """Register ``transformers``."""
    registry.teacher(
        "transformers",
        _transformers,
        options=TransformersOptions,
        doc="Hugging Face transformers in this process: batched sampling, continuation, scoring in chunks.",
        gives_top=True,
        loads_model=True,
        packages=("torch", "transformers"),
        extra="torch",
    )


def _transformers(settings: ModelSettings) -> Teacher:
    try:
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise PluginError(
            f"the backend 'transformers' needs torch and transformers ({error}): pip install 'dasd[torch]'"
        ) from error
    from dasd.models.transformers.engine import TransformersTeacher

    return TransformersTeacher(settings)
