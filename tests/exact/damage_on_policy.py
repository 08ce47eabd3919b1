"""Deliberate damage to on-policy rounds, each in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from tests.exact.damage import Patch

from dasd.pipeline.stages import rollout
from dasd.training import on_policy_loss, own_row_maker
from dasd.training.own_rows import OwnRows
from dasd.training.spans import Spans
from dasd.training.torch import loop

__all__ = [
    "equal_answers",
    "late_likeliest",
    "others_left_out",
    "places_changed",
    "sums",
    "trained_prompt",
    "turned_advantage",
    "without_weights",
]


def places_changed(patch: Patch) -> None:
    right = on_policy_loss._distance
    patch.setattr(on_policy_loss, "_distance", lambda first, second: right(second, first))


def others_left_out(patch: Patch) -> None:
    """As if the student gave the others what the teacher does: their part of the divergence is nothing."""
    patch.setattr(
        on_policy_loss, "rest_logprob", lambda top: torch.full_like(top[:, :1], float("-inf")).exp().log1p()
    )


def late_likeliest(patch: Patch) -> None:
    right = OwnRows.row

    def wrong(rows: OwnRows, *arguments: Any) -> Any:
        own, sampled, weights, *top = right(rows, *arguments)
        return own, sampled, weights, *(np.roll(each, 1, axis=0) for each in top)

    patch.setattr(OwnRows, "row", wrong)


def turned_advantage(patch: Patch) -> None:
    right = on_policy_loss._policy_gradient
    patch.setattr(on_policy_loss, "_policy_gradient", lambda *arguments: -right(*arguments))


def without_weights(patch: Patch) -> None:
    """The mean over answers of their own means, in place of the mean over tokens."""
    patch.setattr(loop, "step_weight", lambda _, chosen: float(len(chosen)))


def sums(change: Callable[[Any, Any], tuple[Any, Any]]) -> Callable[[Patch], None]:
    def apply(patch: Patch) -> None:
        right = Spans.sums

        def wrong(spans: Spans, own: Any, theirs: Any) -> Any:
            return right(spans, *change(np.asarray(own), np.asarray(theirs)))

        patch.setattr(Spans, "sums", wrong)

    return apply


def trained_prompt(patch: Patch) -> None:
    right = own_row_maker._runs

    def wrong(trained: Any) -> Any:
        masked, *rest = right(trained)
        return [masked - 1, rest[0] + 1, *rest[1:]]

    patch.setattr(own_row_maker, "_runs", wrong)


def equal_answers(patch: Patch) -> None:
    """Every candidate of a question is asked for with the first one's request."""
    right = rollout.unit_requests

    def wrong(*arguments: Any, **named: Any) -> Any:
        made = right(*arguments, **named)
        first: dict[str, Any] = {}
        return [
            each.__class__(
                each.sample_id,
                each.question_id,
                each.messages,
                first.setdefault(each.question_id, each).candidate,
                first[each.question_id].seed,
            )
            for each in made
        ]

    patch.setattr(rollout, "unit_requests", wrong)
