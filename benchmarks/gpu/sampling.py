"""Sampling: the backend ``transformers`` at several batch sizes, beside a bare ``generate`` of the same model.

Ours draws by each request's own seed and records every token's log-probability, text and byte offsets in checked
frames; ``generate`` returns token ids and no log-probabilities.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.gpu.clock import fresh, now, peak_bytes
from benchmarks.gpu.results import OURS, Run
from benchmarks.gpu.sizes import SampleWork
from dasd.api import BackendError, Message, ModelSettings, SampleRequest, SamplingSpec
from dasd.plugins.host import PluginHost

PEER = "transformers generate, no log-probabilities"
_WARMUP = 4  # new tokens of a first draw that isn't timed


def measure(
    work: SampleWork, model: Path, device: torch.device, rounds: int, keep: Callable[[Run], None]
) -> None:
    """Time both ``rounds`` times at every batch size."""
    for size in work.batch_sizes:
        label = f"{work.shape.name}, batch of {size}, {work.tokens} new tokens"
        for name, contender in ((OURS, _ours), (PEER, _generate)):
            fresh(device)
            try:
                draw, close = contender(work, size, model, device)
                draw(_WARMUP)
                for turn in range(rounds):
                    fresh(device)
                    start = now(device)
                    tokens = draw(work.tokens)
                    keep(Run("sampling", label, name, turn, now(device) - start, tokens, peak_bytes(device)))
                close()
                del draw, close
            except (torch.OutOfMemoryError, BackendError) as error:
                keep(Run("sampling", label, name, 0, failed=f"out of memory ({type(error).__name__})"))


def requests(count: int, characters: int) -> list[SampleRequest]:
    """Distinct questions of as many tokens as characters."""
    return [
        SampleRequest(
            f"s{number}", f"q{number}", (Message("user", f"{number} ".ljust(characters, "x")),), 0, number
        )
        for number in range(count)
    ]


def _ours(
    work: SampleWork, size: int, model: Path, device: torch.device
) -> tuple[Callable[[int], int], Callable[[], None]]:
    settings = ModelSettings(model=str(model), device=str(device), batch_size=size)
    teacher = PluginHost.load([], lambda _: None).registry.make_teacher(settings)
    asked = requests(size, work.prompt)

    def draw(tokens: int) -> int:
        spec = SamplingSpec("bench", 1.0, 1.0, tokens)
        return sum(int(frame["logprobs"].list.len().sum()) for frame in teacher.sample(asked, spec))

    return draw, teacher.close


def _generate(
    work: SampleWork, size: int, model: Path, device: torch.device
) -> tuple[Callable[[int], int], Callable[[], None]]:
    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    loaded: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    loaded.to(device).eval()
    turns = [
        [{"role": m.role, "content": m.content} for m in r.messages] for r in requests(size, work.prompt)
    ]
    tokenizer.padding_side = "left"
    inputs = tokenizer.apply_chat_template(
        turns, add_generation_prompt=True, tokenize=True, padding=True, return_dict=True, return_tensors="pt"
    ).to(device)
    inputs.pop("token_type_ids", None)

    def draw(tokens: int) -> int:
        output = loaded.generate(
            **inputs,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=tokens,
            min_new_tokens=tokens,
        )
        return int(output[:, inputs["input_ids"].shape[1] :].numel())

    return draw, lambda: None
