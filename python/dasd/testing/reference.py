"""The model as transformers itself runs it, one sequence at a time in float32: what components are held against."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from dasd.models.files import resolve_model

__all__ = ["highest_logprobs", "is_local", "mean_loss", "token_logprobs"]


def is_local(model: str) -> bool:
    """Whether the weights are on this disk, so that they can be held against."""
    return Path(resolve_model(model)).is_dir()


def token_logprobs(model: str, prompt: Sequence[int], tokens: Sequence[int]) -> npt.NDArray[np.float64]:
    """Natural log-probability at temperature 1 of each of ``tokens`` behind ``prompt``; shape (len(tokens),)."""
    return _logprobs(model, prompt, tokens)[np.arange(len(tokens)), list(tokens)]


def highest_logprobs(
    model: str, prompt: Sequence[int], tokens: Sequence[int], k: int
) -> npt.NDArray[np.float64]:
    """The K highest log-probabilities where each of ``tokens`` stands behind ``prompt``; shape (len(tokens), K)."""
    return np.sort(_logprobs(model, prompt, tokens), -1)[:, ::-1][:, :k]


def mean_loss(model: str, rows: pl.DataFrame) -> float:
    """Cross-entropy over the trained tokens of TRAIN rows, each row by its weight; in nats a token."""
    total, weight = 0.0, 0.0
    for row in rows.iter_rows(named=True):
        ids = row["token_ids"]
        runs = np.asarray(row["loss_mask"])
        trained = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
        logprobs = token_logprobs(model, ids[:1], ids[1:])
        total -= row["weight"] * float(logprobs[trained[1:]].sum())
        weight += row["weight"] * int(trained.sum())
    return total / weight


def _logprobs(model: str, prompt: Sequence[int], tokens: Sequence[int]) -> npt.NDArray[np.float64]:
    """Of all tokens of the vocabulary, at temperature 1, where each of ``tokens`` stands; shape (len(tokens), V)."""
    import torch

    ids = torch.tensor([[*prompt, *tokens]])
    with torch.inference_mode():
        logits = _model(resolve_model(model))(ids).logits[0, len(prompt) - 1 : -1]
    return np.asarray(torch.log_softmax(logits.double(), -1).numpy(), dtype=np.float64)


@lru_cache(maxsize=2)
def _model(directory: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    from dasd.base.progress import no_bars

    with no_bars():
        model: Any = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    return model.eval()
