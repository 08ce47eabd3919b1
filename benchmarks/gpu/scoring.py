"""Scoring long responses: the backend ``transformers``, in chunks, beside one forward pass with all its logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from benchmarks.gpu.clock import fresh, now, peak_bytes
from benchmarks.gpu.results import OURS, Run
from benchmarks.gpu.sizes import ScoreWork
from dasd.api import (
    CPU_TOKEN_BUDGET,
    ChatTokenizer,
    Message,
    ModelSettings,
    SampledTokens,
    ScoreRequest,
    ScoringSpec,
)
from dasd.plugins.host import PluginHost

PEER = "transformers, all logits at once"
WHOLE = "dasd, token_budget 131072"
_WHOLE_BUDGET = 131_072
"""No chunks of the responses here: logits alone are made in blocks."""
_WARMUP = 1_024  # tokens of a first response that isn't timed
Scored = dict[str, np.ndarray[Any, np.dtype[np.float64]]]
Score = Callable[[list[ScoreRequest]], Scored]


def measure(
    work: ScoreWork, model: Path, device: torch.device, rounds: int, keep: Callable[[Run], None]
) -> None:
    """Time both ``rounds`` times on the same tokens, and hold their log-probabilities together."""
    settings = ModelSettings(model=str(model), device=str(device))
    tokenizer = ChatTokenizer.load(settings)
    draw = np.random.default_rng(work.length)

    def request(number: int, length: int) -> ScoreRequest:
        ids = draw.integers(0, work.shape.vocabulary - 3, length).tolist()
        sampled = SampledTokens(ids, [0] * length, tokenizer.hash)
        return ScoreRequest(f"s{number}", (Message("user", f"Question {number}"),), "", False, sampled)

    asked = [request(number, work.length) for number in range(work.responses)]
    short = [request(0, min(_WARMUP, work.length))]
    label = f"{work.shape.name}, {work.responses} responses of {work.length} tokens"
    found: Scored = {}
    contenders = (
        (OURS, _ours, settings.model_copy(update={"token_budget": CPU_TOKEN_BUDGET})),
        (WHOLE, _ours, settings.model_copy(update={"token_budget": _WHOLE_BUDGET})),
        (PEER, _at_once, settings),
    )
    for name, contender, given in contenders:
        fresh(device)
        try:
            score, close = contender(given, tokenizer, device)
            score(short)
            for turn in range(rounds):
                fresh(device)
                start = now(device)
                scored = score(asked)
                seconds, peak = now(device) - start, peak_bytes(device)
                found = found or scored
                apart = (
                    None if name == OURS else max(float(np.abs(scored[k] - found[k]).max()) for k in found)
                )
                tokens = sum(len(logprobs) for logprobs in scored.values())
                keep(Run("scoring", label, name, turn, seconds, tokens, peak, apart=apart))
            close()
            del score, close
        except torch.OutOfMemoryError:
            keep(Run("scoring", label, name, 0, failed="out of memory"))


def _ours(
    settings: ModelSettings, _tokenizer: ChatTokenizer, _device: torch.device
) -> tuple[Score, Callable[[], None]]:
    teacher = PluginHost.load([], lambda _: None).registry.make_teacher(settings)

    def score(asked: list[ScoreRequest]) -> Scored:
        spec = ScoringSpec("bench", settings.token_budget)
        return {
            sample_id: np.asarray(logprobs)
            for frame in teacher.score(asked, spec)
            for sample_id, logprobs in frame.select("sample_id", "logprobs").iter_rows()
        }

    return score, teacher.close


def _at_once(
    settings: ModelSettings, tokenizer: ChatTokenizer, device: torch.device
) -> tuple[Score, Callable[[], None]]:
    model: Any = AutoModelForCausalLM.from_pretrained(settings.model, dtype=torch.bfloat16)
    model.to(device).eval()

    @torch.inference_mode()
    def each(asked: list[ScoreRequest]) -> Iterator[tuple[str, np.ndarray[Any, np.dtype[np.float64]]]]:
        for request in asked:
            assert request.sampled is not None
            prompt, response = tokenizer.prompt_ids(request.messages), list(request.sampled.token_ids)
            ids = torch.tensor(prompt + response, device=device)
            logits = model(input_ids=ids[None], use_cache=False).logits[0, len(prompt) - 1 : -1].float()
            chosen = torch.log_softmax(logits, -1).gather(-1, ids[len(prompt) :, None])[:, 0]
            yield request.sample_id, chosen.cpu().numpy().astype(np.float64)

    return lambda asked: dict(each(asked)), lambda: None
