"""The hypotheses of the campaign where answers run on; docs/evidence-drift.md was written with them, before it ran."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.evidence.hypothesis import Hypothesis, Question

__all__ = ["DRIFT_HYPOTHESES"]

_SEEDS = 10
_ONE, _TWO = ("drift",), ("drift", "drift-wide")


def _primary(
    name: str,
    claim: str,
    question: Question,
    measure: str,
    arms: tuple[str, str],
    smallest: float,
    worlds: tuple[str, ...] = _ONE,
    table: str = "",
) -> Hypothesis:
    """One that is tested, at the long budget."""
    return Hypothesis(
        name, claim, question, measure, *arms, smallest, table, budget="9x", worlds=worlds, seeds=_SEEDS
    )


def _explored(
    name: str,
    claim: str,
    question: Question,
    measure: str,
    arms: tuple[str, str],
    smallest: float,
    budget: str = "9x",
) -> Hypothesis:
    made = _primary(name, claim, question, measure, arms, smallest)
    return replace(made, budget=budget, tested=False)


_ORDER: Question = "order, where answers run on"
_SELECTION: Question = "selection, where answers run on"
_FILTER: Question = "answer filter, where answers run on"
_MIXED: Question = "mixed-policy, where answers run on"
_OWN: Question = "on-policy"
_LATE = ("mixed-late", "mixed-late-control")
_RIVALS = ("own", "own-control")

DRIFT_HYPOTHESES: tuple[Hypothesis, ...] = (
    _primary(
        "D1",
        "Low then high is more accurate than two draws of high in one schedule",
        _ORDER,
        "accuracy",
        ("low-high", "two-draws"),
        0.02,
        table="1, 2",
    ),
    _primary(
        "D2",
        "Divergence-aware selection is more accurate than random",
        _SELECTION,
        "accuracy",
        ("divergence", "high"),
        0.02,
        table="3, 4",
    ),
    _primary(
        "D3", "... than its length alone", _SELECTION, "accuracy", ("divergence", "length-matched"), 0.02
    ),
    _primary(
        "D4",
        "All right candidates are more accurate than one a question",
        _SELECTION,
        "accuracy",
        ("all-right", "high"),
        0.02,
    ),
    _primary(
        "D5",
        "Right responses alone are more accurate than all",
        _FILTER,
        "accuracy",
        ("high", "high-unfiltered"),
        0.02,
    ),
    _primary(
        "D6",
        "Of the responses with the most Teacher sentences fewer are wrong",
        _FILTER,
        "select.high.wrong_after",
        ("divergence-unfiltered", "high-unfiltered"),
        -0.02,
    ),
    _primary(
        "D7",
        "Mixed-policy is more accurate than as many off-policy steps",
        _MIXED,
        "accuracy",
        _LATE,
        0.02,
        _TWO,
        "5, 7",
    ),
    _primary("D8", "... and fewer answers run on", _MIXED, "over_cap", _LATE, -0.02, _TWO, "figure 7"),
    _primary(
        "D9",
        "On-policy is more accurate than as many off-policy steps",
        _OWN,
        "accuracy",
        _RIVALS,
        0.02,
        _TWO,
    ),
    _primary("D10", "... and fewer answers run on", _OWN, "over_cap", _RIVALS, -0.02, _TWO),
    _explored("D11", "With few steps too", _OWN, "accuracy", _RIVALS, 0.02, "1x"),
    _explored("D12", "On-policy narrows: less chance in four attempts", _OWN, "pass_at_4", _RIVALS, -0.02),
    _explored("D13", "It ends further from the teacher", _OWN, "kl", _RIVALS, 0.5),
    _explored("D14", "It knows better when it is right", _OWN, "calibration.auroc", _RIVALS, 0.02),
    _explored(
        "D15", "Teacher responses mixed in help on-policy", _OWN, "accuracy", ("own-mixed-in", "own"), 0.02
    ),
    _explored(
        "D16",
        "The sampled token alone is less accurate than the distribution",
        _OWN,
        "accuracy",
        ("own-sampled", "own"),
        -0.02,
    ),
    _explored(
        "D17",
        "Low then high before it helps on-policy",
        _OWN,
        "accuracy",
        ("low-high-own", "own"),
        0.02,
    ),
    _explored(
        "D18", "On-policy is more accurate than mixed-policy", _OWN, "accuracy", ("own", "mixed-late"), 0.02
    ),
    _explored(
        "D19", "The longest are less accurate than random", _SELECTION, "accuracy", ("longest", "high"), -0.02
    ),
    _explored(
        "D20", "Coverage is more accurate than random", _SELECTION, "accuracy", ("coverage", "high"), 0.02
    ),
    _explored("D21", "Mixed-policy with few steps too", _MIXED, "accuracy", _LATE, 0.02, "1x"),
)
