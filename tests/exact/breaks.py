"""Deliberate breaks of the code, each in one place, with the check that has to notice it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tests.exact import damage, damage_on_policy
from tests.exact.checks import (
    check_drawn_kl,
    check_evaluation,
    check_even_kl,
    check_mixed,
    check_selection,
    check_sentences,
    check_temperature,
)
from tests.exact.checks_on_policy import check_rollout, check_round
from tests.exact.checks_torch import check_backend, check_backend_continues, check_first_step

from dasd.errors import TrainingError
from dasd.pipeline.stages import evaluate, mix, score

__all__ = ["BREAKS", "CHECKS", "Break", "table"]

CHECKS: dict[str, Callable[..., None]] = {
    "KL, even": check_even_kl,
    "KL, drawn": check_drawn_kl,
    "sentences": check_sentences,
    "selection": check_selection,
    "temperature": check_temperature,
    "evaluation": check_evaluation,
    "backend": check_backend,
    "backend continues": check_backend_continues,
    "mixed policy": check_mixed,
    "mixed policy, prefix masked": lambda place, models: check_mixed(place, models, train_prefix=False),
    "first step": check_first_step,
    "rollout": check_rollout,
    "round": check_round,
    "round, forward": lambda place, models: check_round(place, models, "forward-kl"),
    "round, sampled": lambda place, models: check_round(place, models, "sampled-reverse-kl"),
}
"""All pass on the code as it is (test_closed_forms.py)."""


@dataclass(frozen=True)
class Break:
    """One wrong line of code."""

    what: str
    check: str
    apply: Callable[[damage.Patch], None]
    words: str
    """What the check says of it, or the pipeline where that refuses it."""
    error: type[BaseException] = AssertionError

    @property
    def refused(self) -> bool:
        """Whether a user's run would stop by itself."""
        return self.error is not AssertionError


BREAKS = (
    Break(
        "the prompt is trained",
        "first step",
        damage.row_mask(lambda mask: [0, sum(mask)]),
        "don't mask their prompt",
        TrainingError,
    ),
    Break(
        "the prompt but its first token is trained",
        "first step",
        damage.row_mask(lambda mask: [1, sum(mask) - 1]),
        "another loss of the first step",
    ),
    Break(
        "the end token isn't trained",
        "first step",
        damage.row_mask(lambda mask: [mask[0], mask[1] - 1, 1]),
        "mask their end token",
        TrainingError,
    ),
    Break(
        "the trainer's mask begins a token early and drops the end",
        "first step",
        damage.late_mask,
        "another loss of the first step",
    ),
    Break("labels are not shifted", "first step", damage.moved_labels(1), "another loss of the first step"),
    Break(
        "labels are shifted twice", "first step", damage.moved_labels(-1), "another loss of the first step"
    ),
    Break(
        "packed responses attend to their neighbours",
        "first step",
        damage.one_segment,
        "reach each other",
        TrainingError,
    ),
    Break(
        "packed responses attend to their neighbours in the loss alone",
        "first step",
        damage.one_segment_in_the_loss,
        "another loss of the first step",
    ),
    Break(
        "scored log-probabilities are those of the next token",
        "backend",
        damage.shifted_scores,
        "scored log-probabilities are others",
    ),
    Break(
        "sampled log-probabilities are those of the token before",
        "backend",
        damage.shifted_samples,
        "sampled log-probabilities are others",
    ),
    Break(
        "log-probabilities after the temperature are called raw",
        "backend",
        damage.tempered_logprobs,
        "sampled log-probabilities are others",
    ),
    Break(
        "the backend samples at temperature 1 whatever it is asked",
        "backend",
        damage.cold_draws,
        "another distribution",
    ),
    Break(
        "a prefix's log-probabilities are those of the next token",
        "backend continues",
        damage.shifted_prefix,
        "continued log-probabilities are others",
    ),
    Break(
        "the backend goes on from the prefix's tokens in another order",
        "backend continues",
        damage.other_prefix,
        "continued log-probabilities are others",
    ),
    Break(
        "the stage asks for temperature 1 whatever the recipe says",
        "temperature",
        damage.stage_temperature,
        "another distribution",
    ),
    Break(
        "the evaluator asks for temperature 1 whatever the recipe says",
        "evaluation",
        damage.evaluator_temperature,
        "answers of another distribution",
    ),
    Break("all requests have one seed", "temperature", damage.one_seed, "another distribution"),
    Break("token_ends lie a byte early", "sentences", damage.token_ends, "another p_teacher"),
    Break("teacher and student change places in Delta", "sentences", damage.swapped, "another p_teacher"),
    Break(
        "teacher and student change places in the kinds alone",
        "sentences",
        damage.kinds_swapped,
        "other kinds of sentences",
    ),
    Break(
        "the student scores without the system prompt",
        "sentences",
        damage.without_system(score),
        "another p_student",
    ),
    Break("of equal candidates the last is kept", "selection", damage.late_ties, "other candidates are kept"),
    Break(
        "held-out responses are scored without the system prompt",
        "KL, even",
        damage.without_system(evaluate),
        "the KL is another",
    ),
    Break("the KL has the wrong sign", "KL, even", damage.kl(damage.negative), "the KL is another"),
    Break(
        "the KL leaves the student's end token out",
        "KL, even",
        damage.kl(damage.without_ends),
        "the KL is another",
    ),
    Break(
        "the KL's error is too small by the root of 2",
        "KL, drawn",
        damage.kl(damage.narrow_error),
        "the KL's error is another",
    ),
    Break(
        "the cut may fall before half",
        "mixed policy",
        damage.cut(lambda _, draw: (0.0, draw)),
        "a cut before half",
    ),
    Break(
        "the cut isn't uniform",
        "mixed policy",
        damage.cut(lambda cut_from, draw: (cut_from, draw**3)),
        "cuts are not uniform",
    ),
    Break("the cap is rounded down", "mixed policy", damage.low_cap, "another cap"),
    Break(
        "the teacher goes on without the system prompt",
        "mixed policy",
        damage.without_system(mix),
        "the teacher's log-probabilities are others",
    ),
    Break(
        "the student's part is masked although train_prefix is on",
        "mixed policy",
        damage.trained_prefix(False),
        "another mask",
    ),
    Break(
        "the student's part is trained although train_prefix is off",
        "mixed policy, prefix masked",
        damage.trained_prefix(True),
        "another mask",
    ),
    Break(
        "all answers of the student to a question are one",
        "rollout",
        damage_on_policy.equal_answers,
        "answers are not as often as their probability",
    ),
    Break(
        "a token's weight is the teacher's logarithm alone",
        "rollout",
        damage_on_policy.sums(lambda own, theirs: (0 * own, theirs)),
        "other weights",
    ),
    Break(
        "the teacher's scores are those of the next token",
        "rollout",
        damage_on_policy.sums(lambda own, theirs: (own, np.roll(theirs, -1))),
        "other weights",
    ),
    Break(
        "the last token of the student's prompt is trained",
        "rollout",
        damage_on_policy.trained_prompt,
        "other tokens are trained",
    ),
    Break(
        "teacher and student change places in the reverse divergence",
        "round",
        damage_on_policy.places_changed,
        "another loss of the first step",
    ),
    Break(
        "teacher and student change places in the forward divergence",
        "round, forward",
        damage_on_policy.places_changed,
        "another loss of the first step",
    ),
    Break(
        "what the teacher doesn't find likely is left out",
        "round",
        damage_on_policy.others_left_out,
        "another loss of the first step",
    ),
    Break(
        "the likeliest tokens are those of the place before",
        "round",
        damage_on_policy.late_likeliest,
        "another loss of the first step",
    ),
    Break(
        "the student moves away from what the teacher likes",
        "round, sampled",
        damage_on_policy.turned_advantage,
        "another loss of the first step",
    ),
    Break(
        "the loss of a step is over answers, not over tokens",
        "round, sampled",
        damage_on_policy.without_weights,
        "another loss of the first step",
    ),
)


def table() -> str:
    """The breaks as docs/evidence-checks.md has them."""
    lines = ["| Break | Check | It says | A run refuses it |", "|---|---|---|---|"]
    for one in BREAKS:
        refused = f"yes, {one.error.__name__}" if one.refused else "no"
        lines.append(f"| {one.what} | {one.check} | {one.words} | {refused} |")
    return "\n".join(lines)
