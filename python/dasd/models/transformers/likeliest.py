"""The likeliest tokens of many positions, gathered from blocks of logits."""

from __future__ import annotations

import numpy as np
import torch

__all__ = ["Likeliest", "highest"]


class Likeliest:
    """The K likeliest tokens at each of N positions, on the CPU: blocks of logits come and go."""

    def __init__(self, count: int, k: int) -> None:
        """``count``: N; ``k``: at most the size of the vocabulary."""
        self.ids = np.empty((count, k), dtype=np.uint32)
        """(N, K), likeliest first; of equal ones the lower id first."""
        self.logprobs = np.empty((count, k), dtype=np.float32)
        """(N, K), nats at temperature 1."""

    def put(self, places_n: torch.Tensor, logits_n_v: torch.Tensor, norms_n: torch.Tensor) -> None:
        """Take the highest of a block's logits. ``places_n``: which of the N positions they are of; ``norms_n``: their
        log-sum-exp."""
        values, ids = highest(logits_n_v, self.ids.shape[1])
        places = places_n.cpu().numpy()
        self.ids[places] = ids.cpu().numpy()
        self.logprobs[places] = (values - norms_n[:, None]).cpu().numpy()


def highest(logits_n_v: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Values and ids [N, K] of the K highest logits of each row, highest first; of equal ones the lower id.

    ``topk`` takes any of equal ones, and in bf16 many are equal: those at the K-th place are looked up once more.
    """
    count, vocabulary = logits_n_v.shape
    if k == vocabulary:
        found = logits_n_v.sort(dim=-1, descending=True, stable=True)
        return found.values, found.indices
    wider = logits_n_v.topk(k + 1, -1)
    values, ids = wider.values[:, :k], wider.indices[:, :k]
    last = values[:, -1:]
    # One pass over all logits less where the K-th has no equal behind it, as in float32.
    if bool((wider.values[:, k:] == last).any()):
        rows, columns = (logits_n_v == last).nonzero(as_tuple=True)
        equal = rows.bincount(minlength=count)
        first = (values > last).sum(-1)  # the place of the lowest id of those
        place = first[rows] + torch.arange(len(rows), device=rows.device) - (equal.cumsum(0) - equal)[rows]
        kept = place < k
        ids[rows[kept], place[kept]] = columns[kept]
    tied = (values[:, 1:] == values[:, :-1]).any(-1)
    # Sorted by id, then stably by value. Only what needs it: of few tokens the sorting takes as long as topk.
    by_id, order = ids[tied].sort(dim=-1)
    within = values[tied].gather(-1, order).sort(dim=-1, descending=True, stable=True).indices
    ids[tied] = by_id.gather(-1, within)
    return values, ids
