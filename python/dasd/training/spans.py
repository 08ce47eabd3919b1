"""One text in the tokens of two models: the shortest spans at whose ends a token of both ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Spans"]


@dataclass(frozen=True)
class Spans:
    """For each of N tokens of one model, and M of the other, the span that it lies in.

    A written end token is a span of its own. Tokens of no width (headers of a chat format) share none with the other
    model's. Log-probabilities add up within a span, so that both sums are of the same event, but for the other ways to
    write the span that each tokenizer would have had.
    """

    own_N: npt.NDArray[np.int64]  # noqa: N815 (shape suffix)
    theirs_M: npt.NDArray[np.int64]  # noqa: N815 (shape suffix)
    count: int

    @classmethod
    def of(cls, own_ends: npt.ArrayLike, their_ends: npt.ArrayLike, *, ended: bool) -> Spans:
        """``own_ends``, ``their_ends``: byte offsets at which tokens end; ``ended``: both end with the end token."""
        own, theirs = (np.asarray(ends, dtype=np.int64) for ends in (own_ends, their_ends))
        body, their_body = (ends[: len(ends) - ended] for ends in (own, theirs))
        common = np.intersect1d(body, their_body)
        # Behind the spans up to a common end: the end token's, and one for each model for what has no counterpart.
        end = len(common)

        def places(ends: npt.NDArray[np.int64], alone: int) -> npt.NDArray[np.int64]:
            place = np.searchsorted(common, ends, side="left").astype(np.int64)
            place[(place == end) | (np.diff(ends, prepend=0) == 0)] = alone
            return np.append(place, end) if ended else place

        return cls(places(body, end + 1), places(their_body, end + 2), end + 3)

    def sums(
        self, own: npt.ArrayLike, theirs: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Sums of a value of each token over each span, of both models."""
        own_sums = np.bincount(self.own_N, np.asarray(own), self.count).astype(np.float64)
        return own_sums, np.bincount(self.theirs_M, np.asarray(theirs), self.count).astype(np.float64)

    @property
    def sizes(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Tokens of both models in each span."""
        return np.bincount(self.own_N, minlength=self.count), np.bincount(self.theirs_M, minlength=self.count)
