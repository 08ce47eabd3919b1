"""Attention that can't cross from one packed response to the next.

A forward pass sees its responses in a row, without padding: one sequence of T tokens. ``segments`` attention
gathers them into a few padded groups of like length and calls torch's causal attention on each group: padding
lies behind every real token, so no mask is needed, torch's fast kernels run, and the cost is the sum of the
squared lengths instead of the square of their sum. It works on every device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from dasd.api import TrainingError

NAME = "dasd_segments"
"""Under which ``segments`` attention is known to transformers."""

_SHORT = 128
"""Responses up to this many tokens share a group whatever their lengths: attention is cheap there."""


@dataclass(frozen=True)
class Group:
    """B responses of at most L tokens. ``places`` (B * L,): where each token lies in the sequence of T."""

    places: Tensor
    padding: Tensor
    """(B * L, 1, 1) bool, true where a response is over already; ``places`` is 0 there."""
    responses: int
    length: int


@dataclass(frozen=True)
class Segments:
    """How the T tokens of one forward pass divide into responses."""

    groups: tuple[Group, ...]
    order: Tensor
    """(T,): for each token of the sequence, its place in the groups laid end to end."""

    @staticmethod
    def of(lengths: list[int], device: torch.device) -> Segments:
        """For responses of these lengths in tokens, one behind the other."""
        starts = torch.cumsum(torch.tensor([0, *lengths]), 0)
        groups: list[Group] = []
        order = torch.empty(sum(lengths), dtype=torch.int64)
        behind = 0
        for members in _alike(lengths):
            length = max(lengths[i] for i in members)
            size = torch.tensor([lengths[i] for i in members])[:, None]
            column = torch.arange(length)[None, :]
            padding = (column >= size).flatten()
            places = (starts[members][:, None] + column).flatten().masked_fill(padding, 0)
            order[places[~padding]] = torch.arange(len(places))[~padding] + behind
            behind += len(places)
            groups.append(
                Group(places.to(device), padding.to(device)[:, None, None], len(members), length)
            )
        return Segments(tuple(groups), order.to(device))


def _alike(lengths: list[int]) -> list[list[int]]:
    """Numbers of the responses in groups of like length: the shortest has half of the longest or more."""
    groups: list[list[int]] = []
    longest = 0
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if groups and (longest <= _SHORT or 2 * lengths[i] >= longest):
            groups[-1].append(i)
        else:
            groups.append([i])
            longest = lengths[i]
    return groups


class _Gather(torch.autograd.Function):
    """``x.index_select(0, places)``, zero at padding. Each token is read once at most, so the way back is a
    gather too; torch's own backward adds row by row, several times slower on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, places: Tensor, padding: Tensor | None, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        ctx.padding = padding
        return x.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        raise NotImplementedError
