"""avg@k, pass@k, majority@k, response length and truncation rate: means over questions, each with its error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from itertools import combinations
from math import comb

import numpy as np
import polars as pl

from dasd.base.seeds import seed_of
from dasd.errors import InputError
from dasd.evaluation.statistics.estimate import Estimate, mean_over_questions, one_benchmark, question_values

__all__ = [
    "average",
    "length",
    "majority_at",
    "majority_of",
    "pass_at",
    "pass_probability",
    "truncation_rate",
]

_RIGHT = object()
_MOST_SUBSETS = 5000
_DRAWS = 2000


def average(rows: pl.DataFrame) -> Estimate:
    """avg@k: the share of right attempts, averaged by question first, so each question weighs the same.

    ``rows``: EVAL rows of one benchmark and checkpoint; null ``correct`` has no part in it. Raises InputError for
    none.
    """
    return _mean_of_means(question_values(rows, pl.col("correct")))


def length(rows: pl.DataFrame) -> Estimate:
    """Mean length of a response in tokens, by question first. ``rows``: as for ``average``."""
    return _mean_of_means(question_values(rows, pl.col("tokens")))


def truncation_rate(rows: pl.DataFrame) -> Estimate:
    """Share of responses that hit a token limit (``finish_reason`` other than ``stop``), by question first."""
    return _mean_of_means(question_values(rows, pl.col("finish_reason") != "stop"))


def pass_probability(attempts: int, correct: int, k: int) -> float:
    """1 - C(n - c, k) / C(n, k), unbiased for n attempts of which c are right (Chen et al. 2021, arXiv 2107.03374).

    Raises InputError unless 1 <= k <= n and 0 <= c <= n.
    """
    if not (1 <= k <= attempts and 0 <= correct <= attempts):
        raise InputError(
            f"pass@{k}: wanted 1 <= k <= attempts and 0 <= correct <= attempts; got {correct} of {attempts}"
        )
    return 1 - comb(attempts - correct, k) / comb(attempts, k)


def pass_at(rows: pl.DataFrame, k: int) -> Estimate:
    """pass@k, the mean over questions, and its standard error over questions.

    ``rows``: EVAL rows of one benchmark and checkpoint, every question with k attempts or more. Raises InputError,
    naming k and what there is, otherwise.
    """
    values = question_values(rows, pl.col("correct"))
    fewest = min((question.size for question in values), default=0)
    if values and k > fewest:
        raise InputError(f"pass@{k}: a question has {fewest} attempts; wanted {k} or more, or a smaller k")
    chances = [pass_probability(question.size, int(question.sum()), k) for question in values]
    return _estimate(chances, sum(question.size for question in values))


def majority_of(votes: Iterable[Hashable | None], right: Hashable) -> float:
    """Chance that the answer voted for most often is ``right``, ties broken at random; None is no vote."""
    counts = Counter(vote for vote in votes if vote is not None)
    if not counts or counts[right] < max(counts.values()):
        return 0.0
    return 1 / sum(count == counts[right] for count in counts.values())


def majority_at(rows: pl.DataFrame, k: int | None = None, seed: int = 0) -> Estimate:
    """majority@k and its standard error over questions.

    All right attempts vote for one answer, however it is written; wrong ones for what was extracted, white space and
    case aside; an attempt without an answer doesn't vote. For fewer than a question's n attempts the value is the
    mean over subsets of k: all of them up to 5000, else 2000 drawn by ``seed`` and the question.
    ``k``: None for all attempts. Raises InputError where a question has fewer than k.
    """
    one_benchmark(rows)
    values: list[float] = []
    attempts = 0
    for (question,), part in rows.sort("question_id", "attempt").group_by("question_id", maintain_order=True):
        votes = [_vote(*row) for row in part.select("correct", "extracted").iter_rows()]
        attempts += len(votes)
        if k is not None and not 1 <= k <= len(votes):
            raise InputError(
                f"majority@{k}: question {question} has {len(votes)} attempts; wanted {k} or more"
            )
        values.append(_mean_majority(votes, k or len(votes), seed_of("majority", seed, str(question))))
    return _estimate(values, attempts)


def _vote(correct: bool | None, extracted: str | None) -> Hashable | None:
    if correct:
        return _RIGHT
    return None if extracted is None else " ".join(extracted.split()).casefold()


def _mean_majority(votes: Sequence[Hashable | None], k: int, seed: int) -> float:
    if k == len(votes):
        return majority_of(votes, _RIGHT)
    if comb(len(votes), k) <= _MOST_SUBSETS:
        return float(np.mean([majority_of(some, _RIGHT) for some in combinations(votes, k)]))
    random = np.random.default_rng(seed)
    picks = (random.permutation(len(votes))[:k] for _ in range(_DRAWS))
    return float(np.mean([majority_of([votes[i] for i in pick], _RIGHT) for pick in picks]))


def _mean_of_means(values_Q_K: list[np.ndarray]) -> Estimate:  # noqa: N803 - ragged: questions, their attempts
    means = [float(values.mean()) for values in values_Q_K]
    return _estimate(means, sum(values.size for values in values_Q_K))


def _estimate(values: Sequence[float], attempts: int) -> Estimate:
    """``values``: one a question."""
    return Estimate(*mean_over_questions(values), len(values), attempts)
