"""Selector by the student's own log-probability: what it would most likely have written itself, step by step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl
from pydantic import Field

from dasd import kernels
from dasd.base.records import Message, ScoreRequest, ScoringSpec
from dasd.errors import PluginError
from dasd.plugins.components import Options
from dasd.plugins.roles import Teacher

__all__ = ["NaturalnessOptions", "NaturalnessSelector"]

TOKEN_BUDGET = 16384
"""Tokens in one forward pass; windows are short, so this only decides how many go together."""


class NaturalnessOptions(Options):
    """Options of the selector ``naturalness``."""

    window: int = Field(4, ge=0, description="Sentences before a sentence that the student sees.")


@dataclass(frozen=True, slots=True)
class _Window:
    """One sentence with the few before it."""

    row: int
    request: ScoreRequest
    context_bytes: int


class NaturalnessSelector:
    """Local naturalness (arXiv 2510.03988): steps judged by a small window, not by the whole response.

    Every sentence is scored under the student in an assistant's turn that holds only the ``window`` sentences
    before it, after an empty user's turn: the question is not shown. A response's rank is the mean over its
    sentences of their tokens' mean log-probability, in nats a token.
    """

    needs_student = True

    def __init__(self, options: NaturalnessOptions) -> None:
        self._window = options.window

    def rank(self, candidates: pl.DataFrame, student: Teacher | None) -> pl.Series:
        """Mean over sentences of the local log-probability; NaN for an empty response."""
        if student is None:
            raise PluginError("selector 'naturalness' scores texts under the student, but got none")
        windows = list(self._windows(candidates))
        frames = student.score(
            [window.request for window in windows], ScoringSpec("naturalness", TOKEN_BUDGET)
        )
        by_id = {window.request.sample_id: window for window in windows}
        totals: list[list[float]] = [[] for _ in range(candidates.height)]
        for frame in frames:
            for sample_id, ends, logprobs in frame.select("sample_id", "token_ends", "logprobs").iter_rows():
                window = by_id[sample_id]
                inside = [
                    logprob
                    for start, end, logprob in zip([0, *ends], ends, logprobs, strict=False)
                    if start < end and end > window.context_bytes
                ]
                if inside:
                    totals[window.row].append(sum(inside) / len(inside))
        means = [sum(values) / len(values) if values else float("nan") for values in totals]
        return pl.Series("rank", means, dtype=pl.Float64)

    def _windows(self, candidates: pl.DataFrame) -> Iterator[_Window]:
        texts = candidates.get_column("text")
        for row, (text, ends) in enumerate(zip(texts, kernels.sentence_ends(texts), strict=True)):
            encoded = text.encode()
            starts = [0, *ends][:-1] if ends is not None else []
            for number, start in enumerate(starts):
                first = starts[max(0, number - self._window)]
                yield _Window(
                    row=row,
                    request=ScoreRequest(
                        sample_id=f"{row}/{number}",
                        messages=(Message("user", ""),),
                        text=encoded[first : ends[number]].decode(),
                        ended=False,
                    ),
                    context_bytes=start - first,
                )
