"""Batched decoding of one batch: a shared prefill, then a token a row and step, finished rows dropped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from dasd.errors import BackendError
from dasd.models.transformers.cache import new_cache
from dasd.models.transformers.draws import Uniforms, draw
from dasd.models.transformers.forward import Forward

__all__ = ["Decoded", "Row", "decode"]


@dataclass(frozen=True, slots=True)
class Row:
    """What to decode from: ``ids`` are the prompt's tokens and then ``prefix`` tokens of the response."""

    name: str
    ids: tuple[int, ...]
    prefix: int
    limit: int
    """Most new tokens, at least 1."""
    seed: int


@dataclass(slots=True)
class Decoded:
    """New tokens of a row and their raw log-probabilities; ``prefix_logprobs`` are the prefix tokens'."""

    prefix_logprobs: list[float]
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    stopped: bool = False
    """Whether the last token is an end token; else the limit was reached."""


@torch.inference_mode()
def decode(
    model: Any,
    forward: Forward,
    rows: Sequence[Row],
    end_ids: frozenset[int],
    temperature: float,
    top_p: float,
    token_budget: int,
) -> list[Decoded]:
    """Decode all rows together; one result a row, in order.

    Rows with the same tokens share their prefill, which takes at most ``token_budget`` tokens at once. Raises
    BackendError naming the row where the model's probabilities are not numbers.
    """
    device = forward.device
    cache = new_cache(model.config)
    unique: dict[tuple[int, ...], int] = {}
    for row in rows:
        unique.setdefault(row.ids, len(unique))
    prefixes: dict[tuple[int, ...], int] = {}
    for row in rows:
        prefixes[row.ids] = max(prefixes.get(row.ids, 0), row.prefix)
    ids_u_t, wanted_u_t, mask_u_t = _left_padded(list(unique), [prefixes[ids] for ids in unique], device)
    length = ids_u_t.shape[1]
    padded = bool((mask_u_t == 0).any())
    logprobs_u_t, features_u = forward.prefill(
        ids_u_t, wanted_u_t, token_budget, cache, mask_u_t if padded else None
    )
    prefix_logprobs = logprobs_u_t.tolist()
    done = [Decoded(prefix_logprobs[unique[row.ids]][length - row.prefix :]) for row in rows]

    taken = torch.tensor([unique[row.ids] for row in rows], device=device)
    if len(unique) < len(rows):
        cache.batch_select_indices(taken)
    features_b = features_u[taken]
    lengths_b = mask_u_t.sum(-1)[taken]
    longest = max(row.limit for row in rows)
    mask_b_s: torch.Tensor | None = None
    if padded:
        mask_b_s = torch.ones(len(rows), length + longest, dtype=torch.long, device=device)
        mask_b_s[:, :length] = mask_u_t[taken]

    uniforms = None if temperature == 0 else Uniforms([row.seed for row in rows])
    batch = list(range(len(rows)))
    active = set(batch)
    for step in range(longest):
        logprobs_b_v = torch.log_softmax(forward.logits(features_b), -1)
        numbers = None
        if uniforms is not None:
            numbers = torch.from_numpy(uniforms.step(step, batch)).to(device)
        tokens_b = draw(logprobs_b_v, temperature, top_p, numbers)
        chosen = logprobs_b_v.gather(-1, tokens_b[:, None])[:, 0].tolist()
        for row_index, token, logprob in zip(batch, tokens_b.tolist(), chosen, strict=True):
            if row_index in active:
                _take(done[row_index], rows[row_index], token, logprob, end_ids)
                if done[row_index].stopped or len(done[row_index].token_ids) >= rows[row_index].limit:
                    active.remove(row_index)
        if not active:
            break
        # Dropping rows copies the cache: worth it once a quarter of the batch works for nothing.
        if len(active) <= 0.75 * len(batch):
            kept = torch.tensor(
                [place for place, index in enumerate(batch) if index in active], device=device
            )
            batch = [index for index in batch if index in active]
            cache.batch_select_indices(kept)
            tokens_b, lengths_b = tokens_b[kept], lengths_b[kept]
            mask_b_s = None if mask_b_s is None else mask_b_s[kept]
        features_b = forward.run(
            tokens_b[:, None],
            cache,
            None if mask_b_s is None else mask_b_s[:, : length + step + 1],
            None if mask_b_s is None else (lengths_b + step)[:, None],
        )[:, -1]
    return done


def _take(into: Decoded, row: Row, token: int, logprob: float, end_ids: frozenset[int]) -> None:
    if math.isnan(logprob):
        raise BackendError(
            f"{row.name}: the model's probabilities are not numbers at token {len(into.token_ids) + 1} of "
            "the response; check its weights, or run it with precision: fp32"
        )
    into.token_ids.append(token)
    into.logprobs.append(logprob)
    into.stopped = token in end_ids


def _left_padded(
    sequences: Sequence[tuple[int, ...]], wanted: Sequence[int], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Token ids, which of them (the last ``wanted`` of a row) to score, attention mask; all [U, T]."""
    length = max(map(len, sequences))
    ids = torch.zeros(len(sequences), length, dtype=torch.long)
    mask = torch.zeros_like(ids)
    marked = torch.zeros(len(sequences), length, dtype=torch.bool)
    for index, (sequence, count) in enumerate(zip(sequences, wanted, strict=True)):
        ids[index, length - len(sequence) :] = torch.tensor(sequence)
        mask[index, length - len(sequence) :] = 1
        marked[index, length - count :] = True
    return ids.to(device), marked.to(device), mask.to(device)
