"""Bootstrap intervals of a mean over questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from dasd.errors import InputError
from dasd.evaluation.statistics.estimate import Interval

__all__ = ["Over", "bootstrap"]

Over = Literal["questions", "attempts", "both"]
_AT_ONCE = 2_000_000


def bootstrap(
    values_Q_K: Sequence[Sequence[float]] | Sequence[np.ndarray],  # noqa: N803 - ragged: questions, attempts
    of: Callable[[np.ndarray], float] | None = None,
    over: Over = "questions",
    level: float = 0.95,
    draws: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Percentile interval of the mean over questions of ``of`` (None: the mean) of each question's attempts.

    ``over``: ``questions`` draws questions, each with its attempts as they are: the interval for other questions of
    the kind, attempts included, as each question's value carries its attempts' noise. ``attempts`` keeps the
    questions and draws attempts within: the interval for exactly these questions. ``both`` draws questions and then
    attempts within each, which counts the attempts' noise twice and so is on the safe side.

    Deviations are scaled by sqrt(m / (m - 1)) for m things drawn from, as drawing from a sample understates its
    variance (m: questions, or the attempts of a question). Raises InputError for no questions, or a question without
    attempts, or fewer than two things to draw from.
    """
    values = [np.asarray(question, dtype=np.float64) for question in values_Q_K]
    if not values or any(not question.size for question in values):
        raise InputError(
            f"bootstrap: wanted questions with attempts; got {len(values)} questions, or one without"
        )
    if not 0 < level < 1:
        raise InputError(f"bootstrap: wanted a level between 0 and 1, got {level}")
    most = max(question.size for question in values)
    if (len(values) if over == "questions" else most) < 2:
        raise InputError(f"bootstrap over {over}: wanted at least two to draw from")
    statistic = of or (lambda attempts: float(attempts.mean()))
    random = np.random.default_rng(seed)
    whole = np.array([statistic(question) for question in values])
    centre = float(whole.mean())
    if over == "questions":
        means = _over_questions(whole, draws, random)
        scale = np.sqrt(len(values) / (len(values) - 1))
    else:
        means = _over_attempts(values, of, over == "both", draws, random)
        scale = np.sqrt(most / (most - 1)) if over == "attempts" else 1.0
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(centre + float(low - centre) * scale, centre + float(high - centre) * scale, level)


def _over_questions(values: np.ndarray, draws: int, random: np.random.Generator) -> np.ndarray:
    parts = []
    for start in range(0, draws, step := max(1, _AT_ONCE // values.size)):
        picked = random.integers(values.size, size=(min(step, draws - start), values.size))
        parts.append(values[picked].mean(axis=1))
    return np.concatenate(parts)


def _over_attempts(
    values: Sequence[np.ndarray],
    of: Callable[[np.ndarray], float] | None,
    questions_too: bool,
    draws: int,
    random: np.random.Generator,
) -> np.ndarray:
    means = np.empty(draws)
    count = len(values)
    for draw in range(draws):
        picked = random.integers(count, size=count) if questions_too else range(count)
        total = 0.0
        for question in picked:
            attempts = values[question]
            drawn = attempts[random.integers(attempts.size, size=attempts.size)]
            total += float(drawn.mean()) if of is None else of(drawn)
        means[draw] = total / count
    return means
