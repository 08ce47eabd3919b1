"""Losses on tokens that the student itself sampled, from what the teacher says of them.

p is the student, q the teacher, behind the same prompt and the same tokens of a response that the student of the
round's start, p0, sampled at temperature 1. Gradients go through the distribution at each position and not through the
choice of what came before it. docs/method.md has the sources, and what each form neglects.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from dasd.base.records import OnPolicyLoss

__all__ = ["FIGURES", "LEAST_REST", "OwnTokens", "own_losses", "rest_logprob"]

FIGURES = ("weight", "kl_from_start", "entropy", "teacher_advantage", "forward_kl")
"""Sums over the student's own tokens that come with a loss: of their weights; of r - 1 - log r with r = p / p0 of the
sampled token, an estimate of KL(p0 || p) that is never negative; of p's entropy; of log q - log p0 of the sampled
token, whose mean is minus KL(p0 || q); of KL(q || p) there, 0 in the sampled form. All in nats, each times the token's
weight."""

LEAST_REST = 1e-6
"""Probability that the tokens outside the teacher's K likeliest have at least: float32 knows 1 - sum no better."""


@dataclass(frozen=True)
class OwnTokens:
    """Of N trained tokens: which the student sampled, and what is known of these."""

    own: Tensor
    """(N,) bool; the others are the teacher's, and trained by cross-entropy."""
    sampled_logprobs: Tensor
    """(N,) f32: log p0 of the token; anything where not ``own``."""
    token_weights: Tensor
    """(N,) f32: log q - log p0 of the token's span; anything where not ``own``."""
    top_ids: Tensor | None
    """(N, K) i64: the teacher's likeliest tokens; None in the sampled form."""
    top_logprobs: Tensor | None
    """(N, K) f32: log q of these."""

    def part(self, part: slice) -> OwnTokens:
        """Some of the tokens."""
        top_ids = None if self.top_ids is None else self.top_ids[part]
        top_logprobs = None if self.top_logprobs is None else self.top_logprobs[part]
        return OwnTokens(
            self.own[part], self.sampled_logprobs[part], self.token_weights[part], top_ids, top_logprobs
        )


def own_losses(
    logits: Tensor, targets: Tensor, weights: Tensor, own: OwnTokens, loss: OnPolicyLoss
) -> tuple[Tensor, Tensor]:
    """Sum of weighted losses, in nats, a scalar; and the sums FIGURES, (5,) f32 without gradient.

    ``logits``: (N, V) f32, whose softmax is p at each trained token; ``targets``: (N,) i64; ``weights``: (N,) f32.
    """
    logp = logits.log_softmax(-1)
    sampled = logp.gather(-1, targets[:, None])[:, 0]
    forward = torch.zeros_like(sampled)
    if loss.kind == "sampled-reverse-kl":
        values = _policy_gradient(sampled, own, loss.clip)
    else:
        log_p, log_q = _told_apart(logp, own)
        forward = _distance(log_q, log_p)
        values = _distance(log_p, log_q) if loss.kind == "reverse-kl" else forward
    nll = cross_entropy(logits, targets, reduction="none")
    total = (torch.where(own.own, values, nll) * weights).sum()
    with torch.no_grad():
        ratio = sampled - own.sampled_logprobs
        entropy = -(logp.exp() * logp).sum(-1)
        columns = [
            torch.ones_like(ratio),
            ratio.expm1() - ratio,
            entropy,
            own.token_weights,
            forward.detach(),
        ]
        figures = torch.stack(columns, 1)
        kept = torch.where(own.own[:, None], figures * weights[:, None], 0.0)
    return total, kept.sum(0)


def _policy_gradient(sampled: Tensor, own: OwnTokens, clip: float) -> Tensor:
    """-min(w A, clip(w) A) with w = p / p0 of the sampled token and A its weight: the clipped surrogate of PPO."""
    ratio = (sampled - torch.where(own.own, own.sampled_logprobs, sampled.detach())).exp()
    bounded = ratio.clamp(1 - clip, 1 + clip)
    advantage = torch.where(own.own, own.token_weights, 0.0)
    return -torch.minimum(ratio * advantage, bounded * advantage)


def _told_apart(logp: Tensor, own: OwnTokens) -> tuple[Tensor, Tensor]:
    """(N, K + 1) log-probabilities under both of the teacher's K likeliest tokens and of all others as one event."""
    assert own.top_ids is not None and own.top_logprobs is not None
    # The teacher's own tokens have no likeliest ones: their values are not looked at.
    top_ids = torch.where(own.own[:, None], own.top_ids, 0)
    log_q = torch.where(own.own[:, None], own.top_logprobs, 0.0)
    log_p = logp.gather(-1, top_ids)
    if top_ids.shape[-1] < logp.shape[-1]:
        others = logp.scatter(-1, top_ids, float("-inf")).logsumexp(-1, keepdim=True)
        log_p = torch.cat([log_p, others], -1)
        log_q = torch.cat([log_q, rest_logprob(log_q)], -1)
    return log_p, log_q


def _distance(first: Tensor, second: Tensor) -> Tensor:
    """KL(first || second) at each position, from log-probabilities (N, K + 1)."""
    return (first.exp() * (first - second)).sum(-1)


def rest_logprob(top_logprobs: Tensor) -> Tensor:
    """(N, 1): log-probability of all tokens but the K of ``top_logprobs`` (N, K); at least that of LEAST_REST."""
    # float64: a float32 sum of many small probabilities loses what is left.
    left = 1 - top_logprobs.double().exp().sum(-1, keepdim=True)
    return left.clamp(min=LEAST_REST).log().to(top_logprobs.dtype)
