"""Losses on the student's own tokens against closed forms over a whole small vocabulary."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dasd.base.records import OnPolicyLoss
from dasd.training.on_policy_loss import OwnTokens, own_losses

V = 7
Kind = Literal["reverse-kl", "forward-kl", "sampled-reverse-kl"]


def drawn(seed: int, rows: int, *, spread: float = 2.0) -> tuple[Tensor, Tensor]:
    """Logits of the student and log-probabilities of the teacher at ``rows`` positions, float64."""
    generator = torch.Generator().manual_seed(seed)
    logits, teacher = spread * torch.randn(2, rows, V, generator=generator, dtype=torch.float64)
    return logits.requires_grad_(), teacher.log_softmax(-1)


def own_tokens(
    teacher: Tensor, targets: Tensor, start: Tensor, *, top: int | None = None, own: Tensor | None = None
) -> OwnTokens:
    """As an on-policy round has them: ``start`` are the log-probabilities of the student that sampled."""
    sampled = start.gather(-1, targets[:, None])[:, 0]
    ranked, ids = teacher.sort(-1, descending=True)
    return OwnTokens(
        torch.ones(len(targets), dtype=torch.bool) if own is None else own,
        sampled,
        teacher.gather(-1, targets[:, None])[:, 0] - sampled,
        None if top is None else ids[:, :top],
        None if top is None else ranked[:, :top],
    )


def coarse(logp: Tensor, ids: Tensor) -> Tensor:
    """Probabilities of the tokens ``ids`` and of all others together."""
    chosen = logp.exp().gather(-1, ids)
    return torch.cat([chosen, 1 - chosen.sum(-1, keepdim=True)], -1)


@given(seed=st.integers(0, 10**6), top=st.integers(1, V), kind=st.sampled_from(["reverse-kl", "forward-kl"]))
def test_dense_forms_are_the_divergence_of_what_the_teacher_tells_apart(
    seed: int, top: int, kind: Kind
) -> None:
    logits, teacher = drawn(seed, 5)
    targets, weights = torch.arange(5) % V, torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0], dtype=torch.float64)
    own = own_tokens(teacher, targets, logits.detach().log_softmax(-1), top=top)
    assert own.top_ids is not None
    loss, _ = own_losses(logits, targets, weights, own, OnPolicyLoss(kind))
    (gradient,) = torch.autograd.grad(loss, logits)
    plain = logits.detach().clone().requires_grad_()
    logp = plain.log_softmax(-1)
    p, q = (
        (logp.exp(), teacher.exp()) if top == V else (coarse(logp, own.top_ids), coarse(teacher, own.top_ids))
    )
    first, second = (p, q) if kind == "reverse-kl" else (q, p)
    expected = ((first * (first / second).log()).sum(-1) * weights).sum()
    (wanted,) = torch.autograd.grad(expected, plain)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6, abs=1e-6)
    assert torch.allclose(gradient, wanted, rtol=1e-5, atol=1e-6)


@given(seed=st.integers(0, 10**6))
def test_the_sampled_form_has_the_gradient_of_the_reverse_divergence_on_average(seed: int) -> None:
    """Over every token that the student may sample, each by its probability: nothing is left to chance."""
    logits, teacher = drawn(seed, 1)
    start = logits.detach().log_softmax(-1)
    total = torch.zeros(())
    for token in range(V):
        target = torch.tensor([token])
        own = own_tokens(teacher, target, start)
        loss, _ = own_losses(
            logits, target, torch.ones(1, dtype=torch.float64), own, OnPolicyLoss("sampled-reverse-kl")
        )
        total = total + start[0, token].exp() * loss
    (gradient,) = torch.autograd.grad(total, logits)
    plain = logits.detach().clone().requires_grad_()
    logp = plain.log_softmax(-1)
    (wanted,) = torch.autograd.grad((logp.exp() * (logp - teacher)).sum(), plain)
    assert torch.allclose(gradient, wanted, atol=1e-9)


@pytest.mark.parametrize(
    ("advantage", "ratio", "moves"), [(1, 1.5, False), (1, 0.5, True), (-1, 0.5, False), (-1, 1.5, True)]
)
def test_a_token_that_has_gone_far_enough_is_left_alone(advantage: int, ratio: float, moves: bool) -> None:
    logits, _ = drawn(3, 1)
    target = torch.tensor([2])
    now = logits.detach().log_softmax(-1)[:, 2]
    own = OwnTokens(
        torch.ones(1, dtype=torch.bool),
        now - torch.tensor(ratio, dtype=torch.float64).log(),
        torch.full((1,), float(advantage), dtype=torch.float64),
        None,
        None,
    )
    loss, _ = own_losses(
        logits, target, torch.ones(1, dtype=torch.float64), own, OnPolicyLoss("sampled-reverse-kl", clip=0.2)
    )
    (gradient,) = torch.autograd.grad(loss, logits)
    assert bool(gradient.abs().max() > 0) == moves
    bound = min(max(ratio, 0.8), 1.2)
    assert loss.item() == pytest.approx(-min(ratio * advantage, bound * advantage))


@pytest.mark.parametrize("kind", ["reverse-kl", "forward-kl", "sampled-reverse-kl"])
def test_the_teachers_own_tokens_are_trained_by_cross_entropy(kind: Kind) -> None:
    logits, teacher = drawn(4, 4)
    targets, weights = torch.tensor([0, 3, 6, 1]), torch.tensor([1.0, 2.0, 1.0, 0.5], dtype=torch.float64)
    written = torch.tensor([True, False, True, False])
    start = logits.detach().log_softmax(-1)
    top = None if kind == "sampled-reverse-kl" else 3
    own = own_tokens(teacher, targets, start, top=top, own=written)
    unknown = OwnTokens(
        written,
        torch.where(written, own.sampled_logprobs, torch.nan),
        torch.where(written, own.token_weights, torch.nan),
        None if own.top_ids is None else torch.where(written[:, None], own.top_ids, 10**6),
        None if own.top_logprobs is None else torch.where(written[:, None], own.top_logprobs, torch.nan),
    )
    loss, figures = own_losses(logits, targets, weights, unknown, OnPolicyLoss(kind))
    (gradient,) = torch.autograd.grad(loss, logits)
    nll = -logits.log_softmax(-1).gather(-1, targets[:, None])[:, 0] * weights
    (wanted,) = torch.autograd.grad(nll[~written].sum(), logits)
    assert torch.allclose(gradient[~written], wanted[~written])
    kept, _ = own_losses(logits, targets, torch.where(written, weights, 0.0), own, OnPolicyLoss(kind))
    assert loss.item() == pytest.approx(kept.item() + nll[~written].sum().item())
    assert figures[0].item() == weights[written].sum().item()


def test_figures_are_those_of_the_distributions() -> None:
    logits, teacher = drawn(5, 1, spread=1.0)
    start = (logits.detach() + 0.3 * torch.arange(V)).log_softmax(-1)
    sums = torch.zeros(5, dtype=torch.float64)
    for token in range(V):
        target = torch.tensor([token])
        own = own_tokens(teacher, target, start, top=V)
        _, figures = own_losses(
            logits, target, torch.full((1,), 2.0, dtype=torch.float64), own, OnPolicyLoss("reverse-kl")
        )
        sums += start[0, token].exp() * figures
    now = logits.detach().log_softmax(-1)
    weight, distance, entropy, advantage, forward = (sums / 2).tolist()
    assert forward == pytest.approx(
        (teacher.exp() * (teacher - logits.detach().log_softmax(-1))).sum().item()
    )
    assert weight == pytest.approx(1)
    assert distance == pytest.approx((start.exp() * (start - now)).sum().item())
    assert entropy == pytest.approx(-(now.exp() * now).sum().item())
    assert advantage == pytest.approx(-(start.exp() * (start - teacher)).sum().item())
