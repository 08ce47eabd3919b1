"""How much of everything: the full suite, the quick one, selection in a world of its own, the large one for a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.evidence.arms import Arm

__all__ = ["FULL", "LARGE", "QUICK", "SCALES", "SELECTION", "Scale"]


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
SCALES = {scale.name: scale for scale in (QUICK, FULL, SELECTION, LARGE)}
