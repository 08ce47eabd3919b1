"""Optimiser steps of a training: exact where the lengths of its rows are known, else expected and bounded."""

from __future__ import annotations

from math import ceil

import numpy as np
import numpy.typing as npt

from dasd.base.seeds import seed_of
from dasd.pipeline.plan.records import Amount, Training
from dasd.recipe.training_settings import TrainerSettings

__all__ = ["exact_training", "expected_training"]

WINDOW_PACKS = 32
"""Packs whose rows are packed together."""


def exact_training(
    lengths: npt.NDArray[np.int64], settings: TrainerSettings, seed: int, name: str
) -> Training:
    """Work of the training stage ``name`` on rows of these lengths (tokens), as the trainer will plan it."""
    from dasd.training.plan import plan_training

    rows = Amount.exactly(len(lengths))
    plan = plan_training(lengths, settings, seed_of(seed, name) % 2**32)
    tokens = int(lengths[plan.rows_R].sum())
    return Training(
        rows, Amount.exactly(int(lengths.sum())), Amount.exactly(tokens), Amount.exactly(plan.steps)
    )


def expected_training(
    rows: Amount, row_tokens: float | None, longest_row: int, settings: TrainerSettings
) -> Training:
    """Work on rows of which only counts, mean and longest length (tokens, prompt included) are known.

    Without a mean (None) there are bounds alone. Expected: packs are full where two rows of the mean length fit (best
    fit of windows of 32 packs leaves a few percent, as lengths spread), else hold one. Bound: the longest rows, one a
    pack where two don't fit.
    """
    longest = min(longest_row, settings.max_length)
    expected = min(row_tokens or 0.0, float(longest))
    count = None if row_tokens is None else rows.expected
    return Training(
        rows,
        Amount(_whole(count, expected), _whole(rows.most, longest)),
        Amount(_tokens(count, expected, settings), _tokens(rows.most, longest, settings)),
        Amount(
            _steps(count, expected, settings, full=expected * 2 <= settings.max_length),
            _steps(rows.most, longest, settings, full=False),
        ),
    )


def _steps(rows: int | None, row_tokens: float, settings: TrainerSettings, full: bool) -> int | None:
    if rows is None:
        return None
    if not settings.packing:
        packs = rows
    elif full:
        packs = ceil(rows * row_tokens / settings.max_length)
    else:
        # At most one pack of a window holds fewer rows than fit of the longest (dasd.training.plan).
        windows = int(rows * row_tokens // (settings.max_length * WINDOW_PACKS)) + 1
        packs = min(rows, ceil(rows / max(1, int(settings.max_length // row_tokens))) + windows - 1)
    whole, part = divmod(settings.epochs, 1)
    steps = ceil((packs * int(whole) + ceil(packs * part)) / settings.batch_size)
    return steps if settings.max_steps is None else min(steps, settings.max_steps)


def _whole(rows: int | None, row_tokens: float) -> int | None:
    return None if rows is None else ceil(rows * row_tokens)


def _tokens(rows: int | None, row_tokens: float, settings: TrainerSettings) -> int | None:
    if rows is None:
        return None
    tokens = ceil(rows * row_tokens * settings.epochs)
    if settings.max_steps is None:
        return tokens
    return min(tokens, settings.max_steps * settings.batch_size * settings.max_length)
