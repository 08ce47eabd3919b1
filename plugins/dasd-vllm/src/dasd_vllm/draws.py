"""Seeded draws on a CPU: vLLM rewinds a generator in a way that only a GPU's can be.

A prompt that doesn't fit into one forward pass (or is computed again, when the key-value cache ran out) goes
through in several; after each but the last vLLM samples a token, throws it away, and sets the offset of the
request's generator back. Generators of the CPU have no offset, so it fails: "CPU Generator does not use offset".
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["keep_draws"]


def keep_draws() -> None:
    """From now on, in this process, tokens that are thrown away are drawn without their request's generator."""
    from vllm.v1.worker.cpu_model_runner import CPUModelRunner

    sample_tokens = CPUModelRunner.sample_tokens
    if getattr(sample_tokens, "keeps_draws", False):
        return

    def keeping(self: Any, *arguments: Any, **named: Any) -> Any:
        generators = self.input_batch.generators
        thrown = np.nonzero(self.discard_request_mask.np[: self.input_batch.num_reqs])[0]
        kept_back = {int(row): generators.pop(int(row)) for row in thrown if int(row) in generators}
        try:
            return sample_tokens(self, *arguments, **named)
        finally:
            generators.update(kept_back)

    keeping.keeps_draws = True  # type: ignore[attr-defined]
    CPUModelRunner.sample_tokens = keeping
