"""Weighted cross-entropy at the trained positions alone, in chunks that bound the memory for logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from dasd.training.batches import Batch, model_arguments


def usual_loss_logits(device: torch.device) -> int:
    """Logits held at once where no option says it; a float32 copy and its gradient take 8 bytes of each.

    A GPU has the memory, and small chunks leave it waiting for the next launch.
    """
    return 2**28 if device.type == "cuda" else 2**25


def weighted_nll(model: Any, batch: Batch, *, attention: str, plain_head: bool, loss_logits: int) -> Tensor:
    """Sum over the trained tokens of weight times negative log-likelihood, in nats; a scalar f32.

    Logits are made only where a trained token is predicted. With ``plain_head`` (the logits are the output
    embedding of the last hidden state and nothing else) at most ``loss_logits`` of them exist at once: more
    are taken in chunks, of which all but the last are made again on the way back.
    """
    arguments = model_arguments(batch, attention)
    if not plain_head:
        logits = model(**arguments, logits_to_keep=batch.predictors).logits[0]
        return _chunk_nll(logits, batch.targets, batch.weights)
    hidden = model.base_model(**arguments).last_hidden_state[0].index_select(0, batch.predictors)
    head = model.get_output_embeddings()
    # A linear layer says its width even where ZeRO-3 has partitioned its weight away.
    width = int(getattr(head, "out_features", 0)) or head.weight.shape[0]
    size = max(1, loss_logits // width)
    if len(batch.targets) <= size:
        return _chunk_nll(head(hidden), batch.targets, batch.weights)

    def chunk_nll(hidden: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        return _chunk_nll(head(hidden), targets, weights)

    total = torch.zeros((), dtype=torch.float32, device=hidden.device)
    *chunks, last = zip(*(torch.split(x, size) for x in (hidden, batch.targets, batch.weights)), strict=True)
    for chunk in chunks:
        total = total + checkpoint(chunk_nll, *chunk, use_reentrant=False)
    # The way back begins with the last chunk: its logits are still there, and gone before others are made.
    return total + chunk_nll(*last)


def _chunk_nll(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    return (cross_entropy(logits.float(), targets, reduction="none") * weights).sum()
