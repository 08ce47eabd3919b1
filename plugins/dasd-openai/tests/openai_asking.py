"""What the tests ask of a teacher, and how they read the rows."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from dasd.api import Message, SampleRequest, SamplingSpec, Teacher
from dasd.models.miniature import world

QUESTIONS = tuple(question.question for question in world.questions(16, seed=5, split="eval"))
GREEDY = SamplingSpec("test", 0.0, 1.0, 48)
WARM = SamplingSpec("test", 0.6, 1.0, 48)
TOKENS = ["sample_id", "text", "token_ids", "token_ends", "finish_reason"]


def requests(count: int = 8) -> list[SampleRequest]:
    return [
        SampleRequest(f"sample-{i}", f"question-{i}", (Message("user", QUESTIONS[i % 16]),), i // 16, 100 + i)
        for i in range(count)
    ]


def rows(frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(list(frames)).sort("sample_id")


def sampled(teacher: Teacher, spec: SamplingSpec = WARM, count: int = 8) -> pl.DataFrame:
    return rows(teacher.sample(requests(count), spec))
