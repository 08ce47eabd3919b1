"""What is tried on the model itself before training: do neighbours stay apart, and how are logits made?"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dasd.errors import TrainingError
from dasd.training.batches import Batch, model_arguments
from dasd.training.loaded_rows import TrainRows

_TRIED_TOKENS = 64
_LEAK = 1e-3
"""Relative change of a response's hidden states above which its neighbour has reached it."""


@torch.no_grad()
def try_model(model: Any, rows: TrainRows, attention: str, precision: str = "fp32") -> bool:
    """Run two short rows side by side; true if the logits are just the output embedding of the hidden state.

    ``precision``: bf16 runs them under autocast, as training does; flash-attn computes nothing else.
    Raises TrainingError when changing one row changes the other: such a model (recurrent layers, an attention
    that ignores position ids) can't be trained on packed responses.
    """
    shortest = np.argsort(rows.lengths, kind="stable")[:2]
    first, second = (
        torch.from_numpy(rows.tokens(int(i))[:_TRIED_TOKENS].astype(np.int64)) for i in shortest[[0, -1]]
    )
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device.type
    autocast = torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")
    try:
        with autocast:
            return _tried(model, first, second, attention)
    finally:
        model.train(was_training)


def _tried(model: Any, first: Tensor, second: Tensor, attention: str) -> bool:
    device = next(model.parameters()).device
    # Not the weight's shape: ZeRO-3 leaves no elements in a partitioned weight.
    vocabulary = model.get_input_embeddings().num_embeddings
    both = _side_by_side(first, second, device)
    changed = _side_by_side((first + 1) % vocabulary, second, device)
    hidden = _hidden(model, both, attention)
    change = (hidden - _hidden(model, changed, attention))[len(first) :]
    difference = change.abs().max()
    # Weights that aren't finite fail this too, but have their own error at the first step.
    if difference > _LEAK * hidden[len(first) :].abs().max():
        raise TrainingError(
            f"responses side by side in a pack reach each other in {type(model).__name__} with "
            f"attention {attention!r}: changing one moved the other's hidden states by "
            f"{float(difference):.3g}. "
            "No weight was changed. Try trainer.options.attention: eager"
        )
    logits = model(**model_arguments(both, attention)).logits[0]
    head = model.get_output_embeddings()
    # Of all tokens at once, as the model does it: in bf16 a product of another shape rounds otherwise.
    return head is not None and torch.allclose(head(hidden), logits, rtol=1e-3, atol=1e-3)


def _hidden(model: Any, batch: Batch, attention: str) -> Tensor:
    hidden: Tensor = model.base_model(**model_arguments(batch, attention)).last_hidden_state[0]
    return hidden


def _side_by_side(first: Tensor, second: Tensor, device: torch.device) -> Batch:
    none = torch.empty(0, dtype=torch.int64, device=device)
    return Batch(
        input_ids=torch.cat([first, second])[None].to(device),
        position_ids=torch.cat([torch.arange(len(first)), torch.arange(len(second))])[None].to(device),
        predictors=none,
        targets=none,
        weights=none.float(),
        lengths=(len(first), len(second)),
    )
