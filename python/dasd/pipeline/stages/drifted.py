"""The student's answers that hit their cap, read where they are needed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import polars as pl

from dasd.store import PartRows

__all__ = ["Drifted"]

_BATCH = 1024


@dataclass(frozen=True, slots=True)
class Drifted:
    """Some rows of the student's answers, by their numbers."""

    answers: PartRows
    numbers: pl.Series

    @classmethod
    def of(cls, answers: PartRows) -> Drifted:
        """Those of SAMPLES rows that were cut off."""
        reasons = answers.select(["finish_reason"]).batches(1 << 16)
        cut_off = pl.concat(
            [pl.Series(dtype=pl.Boolean), *(rows.to_series() == "length" for rows in reasons)]
        )
        return cls(answers.select(["sample_id", "question_id", "text", "token_ends"]), cut_off.arg_true())

    @property
    def height(self) -> int:
        """How many there are."""
        return len(self.numbers)

    def rows(self, start: int, stop: int) -> pl.DataFrame:
        """sample_id, question_id, text and token_ends of those from ``start`` up to ``stop``."""
        return self.answers.take(self.numbers[start:stop])

    def batches(self) -> Iterator[pl.DataFrame]:
        """All of them, a bounded number at a time."""
        for start in range(0, self.height, _BATCH):
            yield self.rows(start, start + _BATCH)

    def without(self, sample_ids: Collection[str]) -> Drifted:
        """Those whose sample_ids aren't given."""
        if not sample_ids:
            return self
        ids = self.answers.select(["sample_id"])
        taken = pl.concat([rows.to_series() for rows in ids.batches(1 << 16)]).gather(self.numbers)
        return Drifted(self.answers, self.numbers.filter(~taken.is_in(list(sample_ids))))
