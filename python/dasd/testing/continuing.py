"""Checks of ``Teacher.continue_``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from dasd.api import BackendError, ContinueRequest
from dasd.testing.bench import Bench, gathered, tiles
from dasd.testing.sampling import SamplingChecks

__all__ = ["ContinuingChecks"]

PREFIXES = (
    "",
    "<think>Begin at 9. So 9",
    "So 4 and 5 is 9. ",
    "Grüße 😀, 中文。",
    "  two  spaces <eos> and\n\n",
)


class ContinuingChecks(SamplingChecks):
    """The prefix is kept byte for byte, and the model goes on from it; or continuing is refused."""

    def test_a_continuation_starts_with_its_prefix(self, bench: Bench) -> None:
        """Byte for byte, whatever it holds; ``prefix_end`` is its length in bytes, and the tokens tile the whole."""
        asked = self._continue_requests(bench, PREFIXES)
        if self._continuing_refused(bench, asked):
            return
        rows = self._continued(bench, asked, 1.0)
        for row, request in zip(rows.iter_rows(named=True), asked, strict=True):
            what = f"row {row['sample_id']} (prefix {request.prefix!r})"
            assert row["text"].startswith(request.prefix), f"{what}: the text is {row['text']!r}"
            size = len(request.prefix.encode())
            assert row["prefix_end"] == size, f"{what}: prefix_end {row['prefix_end']}; wanted {size}"
            wrong = tiles(row["text"], row["token_ends"])
            assert not wrong, f"{what}: {wrong}"
            new = sum(end > size for end in row["token_ends"]) + (row["finish_reason"] == "stop")
            assert new, f"{what}: nothing was added"

    def test_tokens_of_the_prefix_have_logprobs_of_their_own(self, bench: Bench) -> None:
        """One finite number a token, those of the prefix first; null for an engine that gives none."""
        asked = self._continue_requests(bench, PREFIXES)
        if self._continuing_refused(bench, asked):
            return
        for row in self._continued(bench, asked, 1.0).iter_rows(named=True):
            if not self.gives_logprobs(bench):
                assert row["logprobs"] is None, f"row {row['sample_id']}"
                continue
            assert row["logprobs"] is not None, f"row {row['sample_id']} has no logprobs"
            assert len(row["logprobs"]) == len(row["token_ids"]), f"row {row['sample_id']}"
            inside = [
                p
                for p, end in zip(row["logprobs"], row["token_ends"], strict=True)
                if end <= row["prefix_end"]
            ]
            assert np.isfinite(row["logprobs"]).all() and max(row["logprobs"]) <= 1e-6, (
                f"row {row['sample_id']}"
            )
            assert not inside or min(inside) < 0, (
                f"row {row['sample_id']}: all {len(inside)} tokens of the prefix have a log-probability of 0"
            )

    def test_continuing_a_greedy_response_is_the_uninterrupted_one(self, bench: Bench) -> None:
        """Cut a greedy response between two tokens: the continuation ends as the response did."""
        if not (self.repeatable and self.component().continues):
            return
        compared = 0
        for row in bench.sample(bench.requests(1), bench.spec(0.0)).iter_rows(named=True):
            for cut in (4, 11):
                prefix = row["text"].encode()[: row["token_ends"][cut - 1]].decode(errors="ignore")
                ids, _ = bench.tokenizer.encode_response(prefix, ended=False)
                if ids != row["token_ids"][:cut]:
                    continue
                request = ContinueRequest(
                    row["sample_id"],
                    row["question_id"],
                    bench.messages(row["sample_id"]),
                    0,
                    5,
                    prefix,
                    bench.max_tokens - cut,
                )
                again = self._continued(bench, [request], 0.0).row(0, named=True)
                assert again["text"] == row["text"], (
                    f"row {row['sample_id']} cut at token {cut}: went on as {again['text']!r}, was {row['text']!r}"
                )
                compared += 1
        assert compared, "no greedy response could be cut where its tokens are those of its text"

    def _continue_requests(self, bench: Bench, prefixes: Sequence[str]) -> list[ContinueRequest]:
        return [
            ContinueRequest(
                f"continue-{i}",
                "question-0",
                bench.question(i),
                0,
                50 + i,
                prefix,
                8,
            )
            for i, prefix in enumerate(prefixes)
        ]

    def _continued(self, bench: Bench, asked: Sequence[ContinueRequest], temperature: float) -> pl.DataFrame:
        frames = bench.teacher.continue_(asked, bench.spec(temperature))
        return gathered(frames, [request.sample_id for request in asked])

    def _continuing_refused(self, bench: Bench, asked: Sequence[ContinueRequest]) -> bool:
        """Whether the component is registered as unable to continue; then it has to say so when asked."""
        if self.component().continues:
            return False
        with pytest.raises(BackendError):
            list(bench.teacher.continue_(asked, bench.spec()))
        return True
