"""The arms as data. They differ by recipe keys only; the suite's code knows none of them by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

__all__ = ["ARMS", "Arm", "Training"]


@dataclass(frozen=True, slots=True)
class Training:
    """One off-policy training of an arm. ``responses``: which of the pool's; ``share``: of the budget's steps."""

    responses: str
    share: float = 1.0
    mixed_rate: bool = False
    """At the learning rate of mixed-policy rounds."""


@dataclass(frozen=True, slots=True)
class Arm:
    """What an arm changes in the recipe that all share.

    ``table``: the table of the report whose question it answers. ``rounds``: mixed-policy trainings after the
    off-policy ones, each of ``mixed_share`` of the budget's steps; ``mixed``: their other keys. ``own``: keys of
    on-policy rounds after all others, of ``own_share`` of the budget's steps; None: there are none. ``packed``: a step
    is a fixed number of tokens, else a fixed number of responses. ``budgets``: those that the full suite runs.
    """

    name: str
    doc: str
    table: str
    trainings: tuple[Training, ...]
    budgets: tuple[str, ...]
    select: Mapping[str, JsonValue] = field(default_factory=lambda: {"selector": "random"})
    per_question: int = 1
    correct_only: bool = True
    packed: bool = True
    rounds: int = 0
    mixed: Mapping[str, JsonValue] = field(default_factory=dict)
    mixed_share: float = 0.1
    own: Mapping[str, JsonValue] | None = None
    own_share: float = 0.5
    named: bool = False
    """Whether only the scales that name it run it."""


_ALL = ("1x", "3x", "9x")
_LOW, _HIGH = (Training("low"),), (Training("high"),)
_LOW_HIGH = (Training("low", 0.5), Training("high", 0.5))
_EARLY = (Training("low", 0.4), Training("high", 0.4))
_HALF = (Training("high", 0.5),)


def _drifting(name: str, doc: str, table: str, trainings: tuple[Training, ...] = _HIGH, **keys: Any) -> Arm:
    return Arm(name, doc, table, trainings, ("1x", "9x"), named=True, **keys)


def _selection(name: str, doc: str, table: str = "3", **select: JsonValue) -> Arm:
    return Arm(name, doc, table, _HIGH, ("3x",), select=select)


def _by_steps(name: str, **select: JsonValue) -> Arm:
    doc = f"{select['selector']}, with as many responses a step whatever their length"
    return Arm(f"{name}-steps", doc, "3", _HIGH, ("3x",), select=select, packed=False)


ARMS: tuple[Arm, ...] = (
    # Temperature (tables 1 and 2): random candidates, right ones only, so that nothing but the temperature differs.
    Arm("low", "temperature 0.6", "1, 2", _LOW, _ALL),
    Arm("high", "temperature 1.0; the random selection of table 3", "1, 2, 3", _HIGH, _ALL),
    Arm("low-high", "0.6 for half of the steps, then 1.0", "1, 2", _LOW_HIGH, _ALL),
    Arm(
        "high-again",
        "1.0 twice: the second half on another sample of as many responses",
        "1, 2",
        (Training("high", 0.5), Training("again", 0.5)),
        _ALL,
    ),
    Arm("shuffled", "0.6 and 1.0 shuffled together", "1, 2", (Training("both"),), _ALL, per_question=2),
    # Selection at fixed tokens (tables 3 and 4): responses of temperature 1.0.
    _selection("divergence", "most Teacher sentences, beta 0.1", selector="divergence"),
    _selection("divergence-05", "most Teacher sentences, beta 0.05", selector="divergence", beta=0.05),
    _selection("divergence-15", "most Teacher sentences, beta 0.15", selector="divergence", beta=0.15),
    _selection(
        "divergence-controlled",
        "most Teacher sentences beyond what the length predicts",
        selector="divergence",
        options={"length_control": True},
    ),
    _selection("ratio", "largest share of Teacher sentences", selector="ratio"),
    _selection("longest", "most tokens", selector="longest"),
    _selection("fewest", "fewest Teacher sentences (control)", selector="fewest"),
    _selection(
        "length-matched", "random, as long as what divergence picks (control)", selector="length-matched"
    ),
    _selection(
        "style-matched", "random, in the style of what divergence picks (control)", selector="style-matched"
    ),
    _selection("grape", "most likely under the student", "rival", selector="grape"),
    _selection("naturalness", "local naturalness under the student", "rival", selector="naturalness"),
    # Beyond the report: what the student lacks with the teacher's mixture kept.
    _selection(
        "coverage", "most Teacher sentences that keep the teacher's mixture", "beyond", selector="coverage"
    ),
    # Mixed-policy (table 5), after low then high; its control trains as long on off-policy responses alone.
    Arm(
        "mixed",
        "one mixed-policy round, loss on the student's part too",
        "5, 7",
        _LOW_HIGH,
        ("3x",),
        rounds=1,
    ),
    Arm(
        "mixed-masked",
        "one mixed-policy round, loss on the teacher's part alone",
        "5",
        _LOW_HIGH,
        ("3x",),
        rounds=1,
        mixed={"train_prefix": False},
    ),
    Arm(
        "mixed-3", "three mixed-policy rounds of a third of the steps each", "5", _LOW_HIGH, ("3x",), rounds=3
    ),
    Arm(
        "mixed-control",
        "as many more steps on off-policy responses of temperature 1.0",
        "5, 7",
        (*_LOW_HIGH, Training("more", 0.1, mixed_rate=True)),
        ("3x",),
    ),
    # The method as a whole at a long budget, and training as long on what random selection finds.
    Arm(
        "whole",
        "low then high by most Teacher sentences, then one mixed-policy round",
        "7",
        _LOW_HIGH,
        ("9x",),
        select={"selector": "divergence"},
        rounds=1,
        named=True,
    ),
    Arm(
        "plain",
        "1.0 at random, as many steps in all",
        "7",
        (*_HIGH, Training("more", 0.1, mixed_rate=True)),
        ("9x",),
        named=True,
    ),
    # The correctness filter.
    Arm("high-unfiltered", "1.0, wrong responses too", "filter", _HIGH, ("3x",), correct_only=False),
    Arm(
        "divergence-unfiltered",
        "most Teacher sentences, wrong responses too",
        "filter",
        _HIGH,
        ("3x",),
        select={"selector": "divergence"},
        correct_only=False,
    ),
    # Selection again, at a fixed number of responses a step.
    _by_steps("random", selector="random"),
    _by_steps("divergence", selector="divergence"),
    _by_steps("longest", selector="longest"),
    _by_steps("length-matched", selector="length-matched"),
    # Where answers run on: every arm has the budget's steps in all.
    _drifting("all-right", "every right candidate at 1.0", "1, 2", per_question=4),
    _drifting("two-draws", "1.0 twice in one schedule", "1, 2", (Training("twice"),), per_question=2),
    _drifting("mixed-late", "low then high, a fifth mixed-policy", "5, 7", _EARLY, rounds=1, mixed_share=0.2),
    _drifting(
        "mixed-late-control",
        "low then high, a fifth on responses of 1.0 again",
        "5, 7",
        (*_EARLY, Training("more", 0.2, mixed_rate=True)),
    ),
    _drifting("own", "1.0, then half on-policy by the reverse KL", "beyond", _HALF, own={}),
    _drifting("own-control", "1.0, then half on the same again", "beyond", (*_HALF, Training("more", 0.5))),
    _drifting(
        "own-mixed-in",
        "1.0, then half on-policy with as many teacher responses",
        "beyond",
        _HALF,
        own={"off_policy_share": 0.5},
    ),
    _drifting(
        "own-sampled",
        "1.0, then half on-policy by the sampled token",
        "beyond",
        _HALF,
        own={"loss": "sampled-reverse-kl"},
    ),
    _drifting(
        "low-high-own",
        "low then high, then half on-policy by the reverse KL",
        "beyond",
        (Training("low", 0.25), Training("high", 0.25)),
        own={},
    ),
)
