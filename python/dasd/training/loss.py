"""The loss at the trained positions alone, in chunks that bound the memory for logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from dasd.base.records import OnPolicyLoss
from dasd.training.batches import Batch, model_arguments
from dasd.training.on_policy_loss import FIGURES, own_losses


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

    def nll(logits: Tensor, part: slice) -> tuple[Tensor, ...]:
        losses = cross_entropy(logits.float(), batch.targets[part], reduction="none")
        return ((losses * batch.weights[part]).sum(),)

    return _in_chunks(model, batch, nll, attention, plain_head, loss_logits)[0]


def on_policy_loss(
    model: Any, batch: Batch, loss: OnPolicyLoss, *, attention: str, plain_head: bool, loss_logits: int
) -> tuple[Tensor, Tensor]:
    """Sum over the trained tokens of weight times ``loss``, in nats, a scalar f32; and FIGURES, (5,) f32.

    The rest as ``weighted_nll``. Where the batch is the teacher's alone, both are the same number.
    """
    own = batch.own
    if own is None:
        nll = weighted_nll(model, batch, attention=attention, plain_head=plain_head, loss_logits=loss_logits)
        return nll, torch.zeros(len(FIGURES), device=nll.device)

    def losses(logits: Tensor, part: slice) -> tuple[Tensor, ...]:
        return own_losses(logits.float(), batch.targets[part], batch.weights[part], own.part(part), loss)

    total, figures = _in_chunks(model, batch, losses, attention, plain_head, loss_logits)
    return total, figures


def _in_chunks(
    model: Any,
    batch: Batch,
    of_logits: Callable[[Tensor, slice], tuple[Tensor, ...]],
    attention: str,
    plain_head: bool,
    loss_logits: int,
) -> Sequence[Tensor]:
    """Sums of what ``of_logits`` gives for the logits of the trained tokens ``part``, over all of them."""
    arguments = model_arguments(batch, attention)
    count = len(batch.targets)
    if not plain_head:
        logits = model(**arguments, logits_to_keep=batch.predictors).logits[0]
        return of_logits(logits, slice(0, count))
    hidden = model.base_model(**arguments).last_hidden_state[0].index_select(0, batch.predictors)
    head = model.get_output_embeddings()
    # A linear layer says its width even where ZeRO-3 has partitioned its weight away.
    width = int(getattr(head, "out_features", 0)) or head.weight.shape[0]
    size = max(1, loss_logits // width)

    def chunk(hidden: Tensor, part: slice) -> tuple[Tensor, ...]:
        return of_logits(head(hidden), part)

    *others, last = [slice(first, min(first + size, count)) for first in range(0, count, size)]
    made = [checkpoint(chunk, hidden[part], part, use_reentrant=False) for part in others]
    # The way back begins with the last chunk: its logits are still there, and gone before others are made.
    made.append(chunk(hidden[last] if others else hidden, last))
    return [sum(parts[1:], parts[0]) for parts in zip(*made, strict=True)]
