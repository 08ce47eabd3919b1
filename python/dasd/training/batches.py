"""Rows of a micro-batch laid end to end: what one forward pass needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dasd.training.attention import NAME, Segments
from dasd.training.loaded_rows import TrainRows
from dasd.training.on_policy_loss import OwnTokens


@dataclass(frozen=True)
class Batch:
    """T tokens of several responses without padding, N of them trained."""

    input_ids: Tensor
    """(1, T) i64."""
    position_ids: Tensor
    """(1, T) i64, from 0 in each response."""
    predictors: Tensor
    """(N,) i64: where the token before each trained one lies."""
    targets: Tensor
    """(N,) i64: ids of the trained tokens."""
    weights: Tensor
    """(N,) f32: weight of each trained token's response."""
    lengths: tuple[int, ...]
    """Tokens of each response."""
    own: OwnTokens | None = None
    """Of the N trained tokens those that the student sampled; None where there are none in the whole training."""


def collate(rows: TrainRows, numbers: Sequence[int] | npt.NDArray[Any], device: torch.device) -> Batch:
    """The rows of these numbers, one behind the other. The first token of a row is never trained."""
    tokens = [rows.tokens(int(i)) for i in numbers]
    mask = np.concatenate([rows.mask(int(i)) for i in numbers])
    targets = np.flatnonzero(mask)
    flat = np.concatenate(tokens).astype(np.int64)
    lengths = [len(ids) for ids in tokens]
    weights = np.repeat(rows.weights_N[np.asarray(numbers)], rows.trained_N[np.asarray(numbers)])
    own = None
    if rows.own is not None:
        parts = (np.concatenate(column) for column in zip(*map(rows.own_row, map(int, numbers)), strict=True))
        sampled, of_tokens, weights_of_own, *top = (torch.from_numpy(part).to(device) for part in parts)
        own = OwnTokens(sampled, of_tokens, weights_of_own, *(top or (None, None)))
    positions = np.concatenate([np.arange(length, dtype=np.int64) for length in lengths])
    return Batch(
        input_ids=torch.from_numpy(flat)[None].to(device),
        position_ids=torch.from_numpy(positions)[None].to(device),
        predictors=torch.from_numpy(targets - 1).to(device),
        targets=torch.from_numpy(flat[targets]).to(device),
        weights=torch.from_numpy(weights).to(device),
        lengths=tuple(lengths),
        own=own,
    )


def model_arguments(batch: Batch, attention: str) -> dict[str, Any]:
    """Keyword arguments of a forward pass that keeps the responses of ``batch`` apart.

    ``attention``: the model's attention implementation. ``sdpa`` and ``eager`` derive a block-diagonal mask
    from the position ids; flash-attn takes the lengths.
    """
    arguments: dict[str, Any] = {
        "input_ids": batch.input_ids,
        "position_ids": batch.position_ids,
        "use_cache": False,
    }
    device = batch.input_ids.device
    if attention == NAME:
        arguments["segments"] = Segments.of(list(batch.lengths), device)
    elif attention.startswith("flash"):
        ends = torch.tensor([0, *np.cumsum(batch.lengths)], dtype=torch.int32, device=device)
        longest = max(batch.lengths)
        arguments |= {
            "cu_seq_lens_q": ends,
            "cu_seq_lens_k": ends,
            "max_length_q": longest,
            "max_length_k": longest,
        }
    return arguments
