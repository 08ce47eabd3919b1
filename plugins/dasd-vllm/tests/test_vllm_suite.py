"""The plugin held against the teacher's protocol."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from dasd.testing import TeacherSuite

pytest.importorskip("vllm", reason="vLLM is not installed")


class TestVllm(TeacherSuite):
    name = "vllm"
    options: ClassVar[dict[str, Any]] = {"kv_cache_memory_mib": 128, "max_num_batched_tokens": 512}
    batch_size = 16
