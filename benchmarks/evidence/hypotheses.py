"""The hypotheses as data: of the first campaign here, of the one where answers run on beside it."""

from __future__ import annotations

from benchmarks.evidence.drift_hypotheses import DRIFT_HYPOTHESES
from benchmarks.evidence.hypothesis import Hypothesis, Question

__all__ = ["HYPOTHESES"]


def _again(
    name: str,
    claim: str,
    than: str,
    budget: str,
    measure: str = "accuracy",
    smallest: float = 0.02,
    arm: str = "divergence",
) -> Hypothesis:
    question: Question = "selection again" if arm == "divergence" else "whole method"
    return Hypothesis(
        name, claim, question, measure, arm, than, smallest, budget=budget, worlds=("decomposition",)
    )


HYPOTHESES: tuple[Hypothesis, ...] = (
    Hypothesis(
        "H1",
        "High temperature ends nearer to the teacher than low",
        "temperature",
        "kl",
        "high",
        "low",
        -0.5,
    ),
    Hypothesis(
        "H2",
        "With few steps low temperature is more accurate than high",
        "temperature",
        "accuracy",
        "low",
        "high",
        0.02,
        "1, 2",
        "1x",
        tested=False,
    ),
    Hypothesis(
        "H3",
        "With many steps high temperature is more accurate than low",
        "temperature",
        "accuracy",
        "high",
        "low",
        0.02,
        "1, 2",
        "9x",
    ),
    Hypothesis(
        "H4",
        "Low then high is more accurate than high alone",
        "temperature",
        "accuracy",
        "low-high",
        "high",
        0.01,
        "1, 2",
    ),
    Hypothesis(
        "H5",
        "... and than high with a second sample",
        "temperature",
        "accuracy",
        "low-high",
        "high-again",
        0.01,
        "1, 2",
    ),
    Hypothesis(
        "H6",
        "Divergence-aware selection is more accurate than random",
        "selection",
        "accuracy",
        "divergence",
        "high",
        0.01,
        "3, 4",
    ),
    Hypothesis(
        "H7", "... than its length alone", "selection", "accuracy", "divergence", "length-matched", 0.01
    ),
    Hypothesis(
        "H8", "... than its styles alone", "selection", "accuracy", "divergence", "style-matched", 0.01
    ),
    Hypothesis(
        "H9",
        "... than the longest",
        "selection",
        "accuracy",
        "divergence",
        "longest",
        0.01,
        "ablation",
        tested=False,
    ),
    Hypothesis(
        "H10",
        "... than the fewest Teacher sentences",
        "selection",
        "accuracy",
        "divergence",
        "fewest",
        0.01,
        "ablation",
        tested=False,
    ),
    Hypothesis(
        "H11",
        "It ends further from the teacher than random (a cost)",
        "selection",
        "kl",
        "divergence",
        "high",
        0.5,
    ),
    Hypothesis(
        "H12",
        "It weakens the styles that the student knew (a cost)",
        "selection",
        "macro_known",
        "divergence",
        "high",
        -0.02,
        tested=False,
    ),
    Hypothesis(
        "H13",
        "A mixed-policy round is more accurate than as many off-policy steps",
        "mixed-policy",
        "accuracy",
        "mixed",
        "mixed-control",
        0.01,
        "5, 7",
    ),
    Hypothesis(
        "H14",
        "Loss on the student's part is more accurate than masking it",
        "mixed-policy",
        "accuracy",
        "mixed",
        "mixed-masked",
        0.01,
        "5",
    ),
    Hypothesis(
        "H15",
        "Three rounds are more accurate than one",
        "mixed-policy",
        "accuracy",
        "mixed-3",
        "mixed",
        0.01,
        tested=False,
    ),
    Hypothesis(
        "H16",
        "Right responses alone are better than all",
        "answer filter",
        "accuracy",
        "high",
        "high-unfiltered",
        0.01,
    ),
    Hypothesis(
        "H17", "Coverage is more accurate than random", "coverage", "accuracy", "coverage", "high", 0.01
    ),
    Hypothesis(
        "H18",
        "Coverage keeps more styles than divergence",
        "coverage",
        "macro",
        "coverage",
        "divergence",
        0.02,
    ),
    Hypothesis(
        "H19",
        "Coverage ends nearer to the teacher than divergence",
        "coverage",
        "kl",
        "coverage",
        "divergence",
        -0.5,
    ),
    Hypothesis(
        "H20",
        "Weights by the teacher's probability are more accurate than equal weights",
        "weighting",
        "accuracy",
        "weighted",
        "unweighted",
        0.01,
        retired=True,
    ),
    Hypothesis(
        "H21",
        "Low then high at the probe's temperatures is more accurate than at 0.6 and 1.0",
        "probe",
        "accuracy",
        "probed",
        "low-high",
        0.01,
        retired=True,
    ),
    # In a world of their own, written after the others had run: see docs/evidence.md.
    _again(
        "S1", "Where its count finds the easy steps, divergence is more accurate than random", "high", "3x"
    ),
    _again("S2", "... and with three times the steps", "high", "9x"),
    _again("S3", "... than its length alone", "length-matched", "3x"),
    _again(
        "S4",
        "It ends further from the teacher than random, with three times the steps too",
        "high",
        "9x",
        "kl",
        0.5,
    ),
    _again(
        "S5",
        "The whole method is more accurate than as many steps on random responses",
        "plain",
        "9x",
        arm="whole",
    ),
    *DRIFT_HYPOTHESES,
)
