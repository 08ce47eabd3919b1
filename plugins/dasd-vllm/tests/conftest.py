"""What the plugin's tests ask, and of whom: real engines on the miniature models."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from dasd.api import Message, ModelSettings, SampleRequest, Teacher
from dasd.models.miniature import world
from dasd.plugins.host import PluginHost

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode doesn't


@pytest.fixture(scope="session")
def open_teacher() -> Callable[..., Any]:
    """``with open_teacher(model, backend, precision, **options) as teacher``: closed behind the block."""

    @contextmanager
    def opened(
        model: str = "dasd:mini-teacher", backend: str = "vllm", precision: Any = "fp32", **options: Any
    ) -> Iterator[Teacher]:
        if backend == "vllm":
            options = {"kv_cache_memory_mib": 128, "max_num_batched_tokens": 512, **options}
        settings = ModelSettings(
            model=model, backend=backend, precision=precision, device="cpu", batch_size=16, options=options
        )
        with ExitStack() as stack:
            teacher = PluginHost.load(["vllm"]).registry.make_teacher(settings)
            stack.callback(teacher.close)
            yield teacher

    return opened


@pytest.fixture(scope="session")
def requests() -> list[SampleRequest]:
    """Eight sums, three candidates each; every request with a seed of its own."""
    questions = [question.question for question in world.questions(8, seed=3, split="eval")]
    return [
        SampleRequest(f"sample-{q}-{c}", f"question-{q}", (Message("user", text),), c, 2**63 - 100 * q - c)
        for q, text in enumerate(questions)
        for c in range(3)
    ]
