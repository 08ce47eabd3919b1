"""How much of everything: the full suite, the quick one, and three in worlds of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.evidence.arms import Arm

__all__ = ["DRIFT", "DRIFT_TUNE", "FULL", "LARGE", "QUICK", "SCALES", "SELECTION", "Scale"]


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes that do not differ between arms.

    A step is ``batch_size`` packs of ``max_length`` tokens where responses are packed, ``responses`` responses where
    not.
    """

    name: str
    seeds: tuple[int, ...]
    questions: int
    candidates: int
    asked: int
    attempts: int
    heldout: int
    """Of the questions asked, those that the teacher answers too: the KL is over its answers."""
    forced: int
    """Questions that every style is forced on."""
    steps: Mapping[str, int]
    """Optimiser steps of a budget, over all trainings of an arm together."""
    teacher_share: float = 1.0
    """Part of the world's solved questions that the teacher learns from."""
    batch_size: int = 5
    responses: int = 36
    worlds: tuple[str, ...] = ("modes", "usefulness")
    arms: tuple[str, ...] = ()
    """Arms that it runs; empty: all that aren't of another scale."""
    budgets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Budgets of its arms where they aren't the arm's own."""
    by_arm: bool = False
    """Run an arm in every seed before the next arm, so that an early stop leaves whole arms instead of whole seeds."""
    max_tokens: int = 160
    """Cap on an answer, in tokens of its model."""
    max_length: int = 512
    learning_rate: float = 1e-2
    mixed_learning_rate: float = 2e-3
    """Of mixed-policy rounds, and of the off-policy steps that stand in for them."""
    own_learning_rate: float = 2e-3
    """Of on-policy rounds."""
    rates: Mapping[str, float] = field(default_factory=dict)
    """Arm -> what all its learning rates are multiplied by."""
    tried: Mapping[str, float] = field(default_factory=dict)
    """Budget -> the same, where rates are tuned: budgets of equal steps."""
    cap: float = 1.0
    """Of the student's answers in mixed-policy rounds, times the teacher's response."""
    rounds: int = 8
    """On-policy rounds."""
    row_tokens: int = 400
    """A prompt and an answer, about: how many answers an on-policy round's steps take."""
    top_k: int = 16
    """The teacher's likeliest tokens at each of the student's."""
    fewer: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    """World -> its cells (arm, budget), where they are fewer than the scale's."""
    page: str = "evidence.md"
    """Page of the results, in the documentation."""
    min_learning_rate: float = 1e-4
    device: str = "cpu"
    precision: str = "fp32"
    decoded: int = 256
    """Responses decoded together."""
    scored: int | None = None
    """Tokens scored together; None: as the recipe's default."""

    def takes(self, arm: Arm) -> bool:
        """Whether it runs an arm."""
        return arm.name in self.arms if self.arms else not arm.named

    def budgets_of(self, arm: Arm) -> tuple[str, ...]:
        """Budgets of an arm here, also those for which this scale has no steps."""
        return self.budgets.get(arm.name, arm.budgets)

    def has(self, world: str, arm: Arm, budget: str) -> bool:
        """Whether a cell of an arm that it runs is one of its own."""
        return budget in self.steps and (world not in self.fewer or (arm.name, budget) in self.fewer[world])

    def at_rates_of(self, arm: Arm, budget: str) -> Scale:
        """The same with the learning rates of one cell."""
        factor = self.rates.get(arm.name, 1.0) * self.tried.get(budget, 1.0)
        return replace(
            self,
            learning_rate=factor * self.learning_rate,
            mixed_learning_rate=factor * self.mixed_learning_rate,
            own_learning_rate=factor * self.own_learning_rate,
        )

    def engine(self) -> dict[str, Any]:
        """How teacher and student run, as keys of a recipe."""
        keys: dict[str, Any] = {
            "precision": self.precision,
            "device": self.device,
            "batch_size": self.decoded,
        }
        return keys if self.scored is None else {**keys, "token_budget": self.scored}


FULL = Scale(
    name="full",
    seeds=(0, 1, 2, 3, 4),
    questions=2_400,
    candidates=4,
    asked=200,
    attempts=4,
    heldout=200,
    forced=100,
    steps={"1x": 120, "3x": 360, "9x": 1_080},
)
QUICK = Scale(
    name="quick",
    seeds=(0,),
    questions=600,
    candidates=4,
    asked=80,
    attempts=2,
    heldout=80,
    forced=40,
    steps={"1x": 160},
    teacher_share=0.5,
    worlds=("modes",),
    arms=("high", "divergence", "fewest"),
)
LARGE = Scale(
    name="large",
    seeds=(0, 1, 2),
    questions=800,
    candidates=4,
    asked=128,
    attempts=4,
    heldout=128,
    forced=64,
    steps={"3x": 200},
    batch_size=4,
    worlds=("long",),
    arms=(
        "low",
        "high",
        "low-high",
        "high-again",
        "divergence",
        "length-matched",
        "style-matched",
        "coverage",
        "mixed",
        "mixed-control",
    ),
    by_arm=True,
    max_tokens=256,
    max_length=1024,
    learning_rate=2e-3,
    mixed_learning_rate=4e-4,
    min_learning_rate=2e-5,
    device="cuda",
    precision="bf16",
    decoded=1024,
    scored=65_536,
)
_SELECTED = ("high", "divergence", "style-matched", "length-matched", "fewest", "coverage")
SELECTION = replace(
    FULL,
    name="selection",
    worlds=("decomposition",),
    arms=(*_SELECTED, "whole", "plain"),
    budgets=dict.fromkeys(_SELECTED, ("3x", "9x")),
)
_DRIFTING = (
    *("high", "all-right", "two-draws", "low-high", "high-unfiltered"),
    *("divergence", "length-matched", "longest", "coverage", "divergence-unfiltered"),
    *("mixed-late", "mixed-late-control"),
    *("own", "own-control", "own-mixed-in", "own-sampled", "low-high-own"),
)
DRIFT = Scale(
    name="drift",
    seeds=tuple(range(10)),
    questions=600,
    candidates=4,
    asked=100,
    attempts=4,
    heldout=100,
    forced=40,
    steps={"1x": 80, "9x": 720},
    batch_size=4,
    worlds=("drift", "drift-wide"),
    arms=_DRIFTING,
    budgets=dict.fromkeys(_DRIFTING, ("1x", "9x")),
    max_tokens=600,
    max_length=768,
    cap=1.5,
    fewer={
        "drift-wide": tuple(
            (name, "9x") for name in ("high", "mixed-late", "mixed-late-control", "own", "own-control")
        )
    },
    page="evidence-drift.md",
)
_TRIED = {"3x-slow": 1 / 3, "3x": 1.0, "3x-fast": 3.0}
DRIFT_TUNE = replace(
    DRIFT,
    name="drift-tune",
    seeds=(100, 101),
    steps=dict.fromkeys(_TRIED, 240),
    tried=_TRIED,
    worlds=("drift",),
    budgets=dict.fromkeys(_DRIFTING, tuple(_TRIED)),
    fewer={},
)
SCALES = {scale.name: scale for scale in (QUICK, FULL, SELECTION, LARGE, DRIFT, DRIFT_TUNE)}
