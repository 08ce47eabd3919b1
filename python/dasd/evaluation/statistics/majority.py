"""majority@k: whether the answer given most often among k attempts is right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from itertools import combinations
from math import comb

import numpy as np
import polars as pl

from dasd.base.seeds import seed_of
from dasd.errors import InputError
from dasd.evaluation.statistics.estimate import Estimate, mean_over_questions, one_benchmark

__all__ = ["majority_at", "majority_of"]

_RIGHT = object()
_MOST_SUBSETS = 5000
_DRAWS = 2000


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
    value, error = mean_over_questions(values)
    return Estimate(value, error, len(values), attempts)


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
