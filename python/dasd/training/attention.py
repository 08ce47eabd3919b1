"""Attention that can't cross from one packed response to the next.

A forward pass sees its responses in a row, without padding: one sequence of T tokens. ``segments`` attention
gathers them into a few padded groups of like length and calls torch's causal attention on each group: padding
lies behind every real token, so no mask is needed, torch's fast kernels run, and the cost is the sum of the
squared lengths instead of the square of their sum. It works on every device.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from dasd.errors import TrainingError
from dasd.models.devices import any_length_attention

NAME = "dasd_segments"
"""Under which ``segments`` attention is known to transformers."""

_UNORDERED = ("ScaledDotProductFlashAttentionBackward", "ScaledDotProductEfficientAttentionBackward")
"""What the way back through torch's fast attention kernels of a GPU is called."""

_SHORT = 128
"""Responses up to this many tokens share a group whatever their lengths: attention is cheap there."""


@dataclass(frozen=True)
class Segments:
    """How the T tokens of one forward pass divide into responses, and those into padded groups.

    The groups lie end to end, P places in all.
    """

    groups: tuple[tuple[int, int], ...]
    """Responses, and places of each, of every group."""
    places: Tensor
    """(P,): the token of the sequence that lies in each place; padding holds token 0."""
    padding: Tensor | None
    """(P, 1, 1) bool, true at padding; ``None`` where there is none."""
    order: Tensor
    """(T,): the place of each token of the sequence."""

    @staticmethod
    def of(lengths: list[int], device: torch.device) -> Segments:
        """For responses of these lengths in tokens, one behind the other."""
        starts = torch.cumsum(torch.tensor([0, *lengths]), 0)
        groups: list[tuple[int, int]] = []
        places: list[Tensor] = []
        padding: list[Tensor] = []
        for members in _alike(lengths):
            longest = lengths[members[0]]
            column = torch.arange(longest)[None, :]
            behind = column >= torch.tensor([lengths[i] for i in members])[:, None]
            places.append((starts[members][:, None] + column).masked_fill(behind, 0).flatten())
            padding.append(behind.flatten())
            groups.append((len(members), longest))
        all_places, all_padding = torch.cat(places), torch.cat(padding)
        real = (~all_padding).nonzero()[:, 0]
        order = torch.empty(sum(lengths), dtype=torch.int64)
        order[all_places[real]] = real
        return Segments(
            tuple(groups),
            all_places.to(device),
            all_padding[:, None, None].to(device) if bool(all_padding.any()) else None,
            order.to(device),
        )


def _alike(lengths: list[int]) -> list[list[int]]:
    """Numbers of the responses in groups, the longest first; the shortest has half of the longest or more."""
    groups: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        longest = lengths[groups[-1][0]] if groups else 0
        if groups and (longest <= _SHORT or 2 * lengths[i] >= longest):
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


# Each token has one place, so the way back of either gather is the other one. torch's own backward of
# index_select adds row by row, which is several times slower on a CPU.


class _ToGroups(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_T: Tensor, segments: Segments) -> Tensor:  # noqa: N803 (shape suffix)
        ctx.segments = segments
        return x_T.index_select(0, segments.places)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0].index_select(0, ctx.segments.order), None


class _ToSequence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_P: Tensor, segments: Segments) -> Tensor:  # noqa: N803 (shape suffix)
        ctx.segments = segments
        return x_P.index_select(0, segments.order)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        grad = grads[0].index_select(0, ctx.segments.places)
        if ctx.segments.padding is not None:
            grad.masked_fill_(ctx.segments.padding, 0)
        return grad, None


def segments_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    segments: Segments | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each response, as transformers calls it.

    ``query`` (1, heads, T, D), ``key`` and ``value`` (1, key heads, T, D); gives (1, T, heads, D).
    Raises TrainingError for a model whose attention is more than that.
    """
    special = [name for name in ("softcap", "s_aux", "position_bias") if others.get(name) is not None]
    if segments is None or special or attention_mask is not None:
        reason = "uses " + ", ".join(special) if special else "doesn't hand its arguments to its attention"
        raise TrainingError(
            f"{type(module).__name__} {reason}, which attention `segments` can't do; "
            "set trainer.options.attention: eager"
        )
    sequences = [_to_groups(x[0].transpose(0, 1), segments) for x in (query, key, value)]
    outputs: list[Tensor] = []
    first = 0
    for responses, length in segments.groups:
        q, k, v = (
            x[first : first + responses * length].view(responses, length, *x.shape[1:]).transpose(1, 2)
            for x in sequences
        )
        window = sliding_window is not None and length > sliding_window
        # In here, not around the forward pass: layers that are recomputed must choose alike.
        with any_length_attention(q.device):
            out = scaled_dot_product_attention(
                q,
                k,
                v,
                attn_mask=_window_mask(length, int(sliding_window or 0), q.device) if window else None,
                dropout_p=dropout,
                is_causal=not window,
                scale=scaling,
                enable_gqa=q.shape[1] != k.shape[1],
            )
        outputs.append(repeatable(out).transpose(1, 2).flatten(0, 1))
        first += responses * length
    flat = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    return _to_sequence(flat, segments)[None], None


def repeatable(out: Tensor) -> Tensor:
    """``out``, an attention's, with a way back that adds up in the same order every time.

    A GPU's fast kernels otherwise add as their parts finish, and no training could be repeated bit for bit.
    torch's switch is a global one: it is on for this node alone, as it refuses what has no such variant.
    """
    node = out.grad_fn
    if node is not None and node.name().startswith(_UNORDERED):
        before = torch.get_deterministic_debug_mode()
        node.register_prehook(lambda _: torch.set_deterministic_debug_mode("error"))
        node.register_hook(lambda *_: torch.set_deterministic_debug_mode(before))
    return out


@contextmanager
def order_restored() -> Iterator[None]:
    """Leaves torch's switch as it was, also where a way back broke off (out of memory) with it on."""
    before = torch.get_deterministic_debug_mode()
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)


def _to_groups(x_T: Tensor, segments: Segments) -> Tensor:  # noqa: N803 (shape suffix)
    """(T, heads, D) to (P, heads, D)."""
    return cast(Tensor, _ToGroups.apply(x_T, segments))  # type: ignore[no-untyped-call]


def _to_sequence(x_P: Tensor, segments: Segments) -> Tensor:  # noqa: N803 (shape suffix)
    """(P, heads, D) to (T, heads, D)."""
    return cast(Tensor, _ToSequence.apply(x_P, segments))  # type: ignore[no-untyped-call]


def _window_mask(length: int, window: int, device: torch.device) -> Tensor:
    """(L, L) bool: each token sees itself and the ``window - 1`` before it."""
    place = torch.arange(length, device=device)
    distance = place[:, None] - place[None, :]
    return (distance >= 0) & (distance < window)


def register() -> None:
    """Make ``segments`` attention known to transformers; doing it again changes nothing."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, segments_attention)
