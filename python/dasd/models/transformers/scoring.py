"""Teacher-forced log-probabilities within a token budget, which is halved when memory runs out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch

from dasd.errors import BackendError
from dasd.models.tokens.sample_rows import TopTokens
from dasd.models.transformers.forward import Forward
from dasd.models.transformers.likeliest import Likeliest

__all__ = ["Forced", "Scored", "Scorer"]

_SMALLEST_BUDGET = 16


@dataclass(frozen=True, slots=True)
class Forced:
    """Tokens of a prompt and a response; the last ``scored`` of them are the response."""

    name: str
    ids: tuple[int, ...]
    scored: int


@dataclass(frozen=True, slots=True)
class Scored:
    """What came of sequences that went through the model together."""

    indices: list[int]
    """Which of the sequences they are."""
    logprobs: list[list[float]]
    """Of the scored tokens of each."""
    top: list[TopTokens] | None
    """The likeliest tokens at each scored position of each; None where none were asked for."""


class Scorer:
    """Scores sequences with one model and remembers how much fits into memory."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self._fits: int | None = None

    def score(self, sequences: Sequence[Forced], token_budget: int, top: int = 0) -> Iterator[Scored]:
        """Yields what comes of the sequences, longest first; ``top``: how many likeliest tokens are wanted.

        Batches hold at most ``token_budget`` tokens, padding counted; a longer sequence is a batch of its own
        that runs in chunks with its cache carried over. When memory runs out the budget is halved, for good.
        Raises BackendError naming the sequence where even the smallest budget doesn't fit.
        """
        # Ties by place, so that batches depend on the requests alone.
        pending = sorted(range(len(sequences)), key=lambda index: (-len(sequences[index].ids), index))
        while pending:
            budget = min(token_budget, self._fits or token_budget)
            count = max(1, budget // len(sequences[pending[0]].ids))
            batch = pending[:count]
            try:
                logprobs, likeliest = self._batch([sequences[index] for index in batch], budget, top)
            except torch.OutOfMemoryError as error:
                self._halve(budget, sequences[batch[0]], error)
                continue
            pending = pending[count:]
            yield Scored(batch, logprobs, likeliest)

    def _halve(self, budget: int, sequence: Forced, error: BaseException) -> None:
        if budget // 2 < _SMALLEST_BUDGET:
            raise BackendError(
                f"{sequence.name}: memory runs out while scoring its {len(sequence.ids)} tokens, even "
                f"{budget} at a time; free memory, or run the model with precision: bf16"
            ) from error
        self._fits = budget // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _batch(
        self, sequences: Sequence[Forced], budget: int, top: int
    ) -> tuple[list[list[float]], list[TopTokens] | None]:
        """Padding goes to the right: causal attention never sees it, so no mask is needed."""
        length = max(len(sequence.ids) for sequence in sequences)
        ids = torch.zeros(len(sequences), length, dtype=torch.long)
        wanted = torch.zeros(len(sequences), length, dtype=torch.bool)
        for row, sequence in enumerate(sequences):
            end = len(sequence.ids)
            ids[row, :end] = torch.tensor(sequence.ids)
            wanted[row, end - sequence.scored : end] = True
        device = self._forward.device
        ends = list(accumulate(sequence.scored for sequence in sequences))
        likeliest = Likeliest(ends[-1], min(top, self._forward.vocabulary)) if top else None
        logprobs, _ = self._forward.prefill(
            ids.to(device), wanted.to(device), budget, None, likeliest=likeliest
        )
        values = [
            row[len(sequence.ids) - sequence.scored : len(sequence.ids)]
            for row, sequence in zip(logprobs.tolist(), sequences, strict=True)
        ]
        if likeliest is None:
            return values, None
        parts = [slice(end - sequence.scored, end) for end, sequence in zip(ends, sequences, strict=True)]
        return values, [TopTokens(likeliest.ids[part], likeliest.logprobs[part]) for part in parts]
