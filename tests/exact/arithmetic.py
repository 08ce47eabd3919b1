"""What the stages should find, worked out from the tables in another way than the stages do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod, sqrt
from typing import Any

from tests.exact.engine import prompt_of
from tests.exact.tables import JOINED, SPLIT, Table

__all__ = ["RANKS", "ByHand", "by_hand", "chosen", "excess", "in_words"]


@dataclass(frozen=True)
class ByHand:
    """One response's sentences: (start, end) in bytes, and the probability of each under both models."""

    spans: list[tuple[int, int]]
    teacher: list[float]
    student: list[float]

    def kinds(self, beta: float) -> list[str]:
        deltas = [t - s for t, s in zip(self.teacher, self.student, strict=True)]
        assert all(abs(abs(delta) - beta) > 1e-6 for delta in deltas), "a world too close to its threshold"
        return ["teacher" if d > beta else "student" if d < -beta else "common" for d in deltas]


def in_words(text: str, vocabulary: Sequence[str]) -> list[str]:
    """The words that ``text`` is made of."""
    words = []
    while text:
        words.append(next(word for word in vocabulary if text.startswith(word)))
        text = text[len(words[-1]) :]
    return words


def by_hand(number: int, text: str, teacher: Table, student: Table) -> ByHand:
    """Sentences of a whole response to question ``number`` by these worlds' own two rules.

    ``tu.`` and ``xo.`` end a sentence behind their space; the end of the text ends the last one.
    """
    size = len(text.encode())
    inner = {at + 4 for at in range(size) if text[at : at + 4] in ("tu. ", "xo. ")}
    ends = sorted(inner | {size})
    spans = list(zip([0, *ends[:-1]], ends, strict=True))
    found = []
    for table, vocabulary in ((teacher, teacher.words), (student, student.words)):
        assert vocabulary in (JOINED, SPLIT)
        words = in_words(text, vocabulary)
        prompt = prompt_of(number)
        p = [table.next(prompt, tuple(words[:i])).get(word, Fraction(0)) for i, word in enumerate(words)]
        places, at = [], 0
        for word in words:
            places.append((at, at + len(word)))
            at += len(word)
        found.append([_probability(span, places, p) for span in spans])
    return ByHand(spans, *found)


def _probability(span: tuple[int, int], places: Sequence[tuple[int, int]], p: Sequence[Fraction]) -> float:
    """Geometric mean over the words that touch the span; the end token is no part of the text."""
    inside = [p[i] for i, (start, end) in enumerate(places) if start < span[1] and end > span[0]]
    whole: float = float(prod(inside)) ** (1 / len(inside))
    return whole


RANKS: Mapping[str, Callable[[Counter[str], int, int], float]] = {
    "divergence": lambda kinds, _, __: kinds["teacher"],
    "ratio": lambda kinds, sentences, _: kinds["teacher"] / sentences,
    "fewest": lambda kinds, _, __: -kinds["teacher"],
    "longest": lambda _, __, tokens: tokens,
}


def chosen(
    rows: Sequence[tuple[str, int, str]], selector: str, beta: float, teacher: Table, student: Table
) -> set[str]:
    """Sample ids that a selector should keep of (sample_id, question's number, text): brute force."""
    best: dict[int, tuple[float, str]] = {}
    for sample_id, number, text in rows:
        kinds = by_hand(number, text, teacher, student).kinds(beta)
        tokens = len(in_words(text, student.words)) + 1
        rank = RANKS[selector](Counter(kinds), len(kinds), tokens)
        if number not in best or rank > best[number][0]:  # of equal ones the first stays
            best[number] = (rank, sample_id)
    return {sample_id for _, sample_id in best.values()}


def excess(observed: Mapping[Any, int], expected: Mapping[Any, float], least: float = 5.0) -> float:
    """Pearson's statistic less its degrees of freedom, in its standard deviations; rare cells are pooled.

    Above 5 for a sample of another distribution; AssertionError for an event that can't happen.
    """
    impossible = [event for event, count in observed.items() if count and expected.get(event, 0) <= 0]
    assert not impossible, f"drawn, and impossible: {impossible[:3]}"
    cells = [(observed.get(event, 0), mean) for event, mean in expected.items() if mean >= least]
    rare = [(observed.get(event, 0), mean) for event, mean in expected.items() if 0 < mean < least]
    if sum(mean for _, mean in rare) >= least:
        cells.append((sum(count for count, _ in rare), sum(mean for _, mean in rare)))
    freedom = len(cells) - 1
    statistic = sum((count - mean) ** 2 / mean for count, mean in cells)
    return (statistic - freedom) / sqrt(2 * freedom)
