"""Teacher-forced log-probabilities within a token budget, which is halved when memory runs out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from dasd.errors import BackendError
from dasd.models.transformers.forward import Forward

__all__ = ["Forced", "Scorer"]

_SMALLEST_BUDGET = 16


@dataclass(frozen=True, slots=True)
class Forced:
    """Tokens of a prompt and a response; the last ``scored`` of them are the response."""

    name: str
    ids: tuple[int, ...]
    scored: int


class Scorer:
    """Scores sequences with one model and remembers how much fits into memory."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self._fits: int | None = None

    def score(
        self, sequences: Sequence[Forced], token_budget: int
    ) -> Iterator[tuple[list[int], list[list[float]]]]:
        """Yields (indices into ``sequences``, log-probabilities of their scored tokens), longest first.

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
                found = self._batch([sequences[index] for index in batch], budget)
            except torch.OutOfMemoryError as error:
                self._halve(budget, sequences[batch[0]], error)
                continue
            pending = pending[count:]
            yield batch, found

    def _halve(self, budget: int, sequence: Forced, error: BaseException) -> None:
        if budget // 2 < _SMALLEST_BUDGET:
            raise BackendError(
                f"{sequence.name}: memory runs out while scoring its {len(sequence.ids)} tokens, even "
                f"{budget} at a time; free memory, or run the model with precision: bf16"
            ) from error
        self._fits = budget // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _batch(self, sequences: Sequence[Forced], budget: int) -> list[list[float]]:
        """Padding goes to the right: causal attention never sees it, so no mask is needed."""
        length = max(len(sequence.ids) for sequence in sequences)
        ids = torch.zeros(len(sequences), length, dtype=torch.long)
        wanted = torch.zeros(len(sequences), length, dtype=torch.bool)
        for row, sequence in enumerate(sequences):
            end = len(sequence.ids)
            ids[row, :end] = torch.tensor(sequence.ids)
            wanted[row, end - sequence.scored : end] = True
        device = self._forward.device
        logprobs, _ = self._forward.prefill(ids.to(device), wanted.to(device), budget, None)
        values = logprobs.tolist()
        return [
            row[len(sequence.ids) - sequence.scored : len(sequence.ids)]
            for row, sequence in zip(values, sequences, strict=True)
        ]
