"""Which rows fill which pack of which optimiser step: fixed by lengths, settings and seed alone.

Each epoch shuffles the rows, cuts that order into windows of about 32 packs, fills packs best-fit
decreasing within each window (so packs differ from epoch to epoch), then shuffles the packs.
Steps take packs from the epochs one after the other, so only the last step may be short.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt
import polars as pl

from dasd.base.seeds import seed_of
from dasd.recipe.training_settings import TrainerSettings

_WINDOW_PACKS = 32
"""Larger windows fill packs better, smaller ones mix rows more."""


@dataclass(frozen=True)
class TrainPlan:
    """All packs of a training in the order of their use: P packs with R rows in all (rows recur by epoch)."""

    rows_R: npt.NDArray[np.uint32]  # noqa: N815 (shape suffix)
    pack_starts: npt.NDArray[np.int64]
    """Where each pack begins in ``rows_R``; P + 1 entries."""
    epoch_packs: tuple[int, ...]
    """Packs of each epoch, whole epochs: a training of 1.5 epochs uses half of the second."""
    batch_size: int
    steps: int

    @property
    def packs(self) -> int:
        """Packs that the training uses."""
        return len(self.pack_starts) - 1

    def step_packs(self, step: int) -> list[npt.NDArray[np.uint32]]:
        """Row numbers of each pack of optimiser step ``step``, counted from 1."""
        first = (step - 1) * self.batch_size
        last = min(first + self.batch_size, self.packs)
        return [self.rows_R[self.pack_starts[i] : self.pack_starts[i + 1]] for i in range(first, last)]

    def epoch(self, step: int) -> float:
        """Passes over the data that are complete after step ``step``."""
        used = min(step * self.batch_size, self.packs)
        for number, count in enumerate(self.epoch_packs):
            if used <= count:
                return number + used / count
            used -= count
        return float(len(self.epoch_packs))


def plan_training(lengths: npt.NDArray[np.int64], settings: TrainerSettings, seed: int) -> TrainPlan:
    """Plan a training on rows of these lengths (tokens, each at most ``settings.max_length``)."""
    packs: list[npt.NDArray[np.uint32]] = []
    counts: list[npt.NDArray[np.int64]] = []
    epoch_packs: list[int] = []
    for epoch in range(ceil(settings.epochs)):
        order = np.random.default_rng(seed_of(seed, "epoch", epoch))
        rows, sizes = _epoch(lengths, settings, order)
        epoch_packs.append(len(sizes))
        used = ceil(len(sizes) * min(1.0, settings.epochs - epoch))
        packs.append(rows[: sizes[:used].sum()])
        counts.append(sizes[:used])
    pack_starts = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    steps = ceil((len(pack_starts) - 1) / settings.batch_size)
    if settings.max_steps is not None and settings.max_steps < steps:
        steps = settings.max_steps
        pack_starts = pack_starts[: steps * settings.batch_size + 1]
    return TrainPlan(
        rows_R=np.concatenate(packs)[: pack_starts[-1]],
        pack_starts=pack_starts,
        epoch_packs=tuple(epoch_packs),
        batch_size=settings.batch_size,
        steps=steps,
    )


def _epoch(
    lengths: npt.NDArray[np.int64], settings: TrainerSettings, order: np.random.Generator
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """Rows of one epoch in the order of their packs, and the number of rows of each pack."""
    shuffled = order.permutation(len(lengths)).astype(np.uint32)
    if not settings.packing:
        return shuffled, np.ones(len(shuffled), dtype=np.int64)
    from dasd.kernels import pack

    window_tokens = settings.max_length * _WINDOW_PACKS
    windows = (np.cumsum(lengths[shuffled]) - lengths[shuffled]) // window_tokens
    packs: list[npt.NDArray[np.uint32]] = []
    for window in np.split(shuffled, np.flatnonzero(np.diff(windows)) + 1):
        bins = pack(pl.Series(lengths[window].astype(np.uint32)), settings.max_length).to_numpy()
        by_bin = np.argsort(bins, kind="stable")
        packs += np.split(window[by_bin], np.flatnonzero(np.diff(bins[by_bin])) + 1)
    mixed = [packs[i] for i in order.permutation(len(packs))]
    return np.concatenate(mixed), np.array([len(rows) for rows in mixed], dtype=np.int64)
