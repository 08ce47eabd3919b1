"""The likeliest tokens that a teacher returned, held against what such rows can hold."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from dasd.base.schemas import SCORES, TOP_SCORES
from dasd.errors import SchemaError

__all__ = ["TopRows"]

HIGHEST_SUM = 1 + 1e-3
"""Of the probabilities at a position: engines round."""


class TopRows:
    """The TOP_SCORES rows of one call: K is the same in all of them."""

    def __init__(self, top: int, origin: str) -> None:
        """``top``: how many were asked for; ``origin``: who is asked, for messages."""
        self._top = top
        self._origin = origin
        self._k: int | None = None

    def check_given(self, frame: object) -> None:
        """SchemaError for a frame that holds SCORES alone."""
        if isinstance(frame, pl.DataFrame) and set(frame.columns) == set(SCORES.columns):
            raise SchemaError(
                f"{self._origin} returned scores rows without top_ids and top_logprobs, although the {self._top} "
                "likeliest tokens of each position were asked for (ScoringSpec.top); wanted top_scores rows, or a "
                "backend that is registered with gives_top=False"
            )

    def check(self, rows: pl.DataFrame) -> None:
        """K of both a token, likeliest first, and together no likelier than 1.

        ``rows``: of TOP_SCORES, their tokens checked. Raises SchemaError that names the row.
        """
        for sample_id, tokens, ids, logprobs in self._counts(rows):
            if self._k is None and tokens:
                self._k = ids // tokens
            wanted = (self._k or 0) * tokens
            if ids != wanted or logprobs != wanted or (tokens and not 0 < wanted <= self._top * tokens):
                raise SchemaError(
                    f"{self._where} {sample_id} with {ids} top_ids and {logprobs} top_logprobs for {tokens} tokens; "
                    f"wanted K of each a token, K from 1 to {self._top} and the same in all rows of a call"
                )
        if self._k is None:
            return
        filled = rows.filter(pl.col("token_ids").list.len() > 0)
        logprobs_t_k = filled["top_logprobs"].explode().to_numpy().reshape(-1, self._k)
        sums_t = np.exp(logprobs_t_k).sum(-1, dtype=np.float64)
        for wrong_t, words in (
            (np.isnan(logprobs_t_k).any(-1), "that aren't numbers; wanted log-probabilities"),
            ((logprobs_t_k[:, 1:] > logprobs_t_k[:, :-1]).any(-1), "that ascend; wanted the likeliest first"),
            (sums_t > HIGHEST_SUM, "that sum to more than 1; wanted natural logs of probabilities"),
        ):
            if wrong_t.any():
                position = int(wrong_t.argmax())
                ends = filled["token_ids"].list.len().cum_sum().to_numpy()
                row = int(ends.searchsorted(position, side="right"))
                raise SchemaError(
                    f"{self._where} {filled['sample_id'][row]} with top_logprobs at token "
                    f"{position - int(ends[row - 1] if row else 0)} {words}"
                )

    @property
    def _where(self) -> str:
        return f"{self._origin} returned {TOP_SCORES.name} row"

    def _counts(self, rows: pl.DataFrame) -> Iterator[tuple[str, int, int, int]]:
        """Of each row: sample_id, tokens, and how many ids and log-probabilities it has that are no null."""
        lists = ("top_ids", "top_logprobs")
        yield from rows.select(
            "sample_id",
            pl.col("token_ids").list.len(),
            *(pl.col(name).list.drop_nulls().list.len() for name in lists),
        ).iter_rows()
