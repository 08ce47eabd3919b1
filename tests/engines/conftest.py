"""End-to-end tests with real engines: `make test-engines`. Elsewhere (`make test`) they aren't collected."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("vllm") and find_spec("deepspeed") else ["test_*.py"]
