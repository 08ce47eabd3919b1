"""Asking a teacher and reading its rows, for the plugin's tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from dasd.api import SampledTokens, SampleRequest, SamplingSpec, ScoreRequest, ScoringSpec, Teacher

SPEC = SamplingSpec("low", 1.0, 1.0, 120)
GREEDY = SamplingSpec("low", 0.0, 1.0, 120)
BUDGET = ScoringSpec("score-low", 300)
TOP = ScoringSpec("score-low", 300, top=40)


def sampled(teacher: Teacher, requests: Sequence[SampleRequest], spec: SamplingSpec = SPEC) -> pl.DataFrame:
    return pl.concat(teacher.sample(requests, spec)).sort("sample_id")


def to_score(samples: pl.DataFrame, requests: Sequence[SampleRequest]) -> list[ScoreRequest]:
    messages = {request.sample_id: request.messages for request in requests}
    return [
        ScoreRequest(
            row["sample_id"],
            messages[row["sample_id"]],
            row["text"],
            row["finish_reason"] == "stop",
            SampledTokens(row["token_ids"], row["token_ends"], row["tokenizer_hash"]),
        )
        for row in samples.iter_rows(named=True)
    ]


def scored(teacher: Teacher, asked: Sequence[ScoreRequest], spec: ScoringSpec = BUDGET) -> pl.DataFrame:
    return pl.concat(teacher.score(asked, spec)).sort("sample_id")


def flat(rows: pl.DataFrame, column: str = "logprobs") -> npt.NDArray[np.float32]:
    return rows[column].explode().to_numpy()


def apart(one: pl.DataFrame, other: pl.DataFrame) -> float:
    assert one["token_ids"].equals(other["token_ids"])
    return float(np.abs(flat(one) - flat(other)).max())
