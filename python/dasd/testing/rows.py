"""Rows that suites are run on: TRAIN rows, QUESTIONS, candidates and responses of the miniature task."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from dasd.api import CANDIDATES
from dasd.base.records import Message
from dasd.base.schemas import QUESTIONS, SAMPLES, TRAIN
from dasd.models.miniature import world
from dasd.models.tokens.chat import ChatTokenizer

__all__ = ["candidates", "questions", "responses", "train_rows", "write_shards"]

RESPONSE_COLUMNS = pl.Schema(
    {
        **SAMPLES.columns,
        "student_token_ids": pl.List(pl.UInt32),
        "prompt_tokens": pl.UInt32,
        "answer": pl.String,
        "verifier": pl.String,
        "correct": pl.Boolean,
        "think_opened": pl.Boolean,
    }
)
"""What a filter sees of each response."""


def train_rows(tokenizer: ChatTokenizer, count: int, *, weights: Sequence[float] = (1.0,)) -> pl.DataFrame:
    """TRAIN rows of solved sums that have passed pre-flight; every third masks half of its response too."""
    draw, rows = random.Random(5), []
    for number, question in enumerate(world.questions(count, seed=5)):
        prompt = tokenizer.prompt_ids([Message("user", question.question)])
        text = world.solve(question, world.draw_style(draw), draw)
        response, _ = tokenizer.encode_response(text, ended=True)
        masked = len(response) // 2 if number % 3 == 2 else 0
        runs = [len(prompt) + masked, len(response) - masked]
        weight = weights[number % len(weights)]
        rows.append((f"train-{number}", prompt + response, runs, weight, "suite"))
    return pl.DataFrame(rows, schema=dict(TRAIN.columns), orient="row")


def write_shards(directory: Path, rows: pl.DataFrame) -> list[Path]:
    """``rows`` as two Parquet files."""
    directory.mkdir(parents=True, exist_ok=True)
    shards = []
    for number, part in enumerate((rows[: rows.height // 2], rows[rows.height // 2 :])):
        shards.append(directory / f"part-train-{number}.parquet")
        part.write_parquet(shards[-1])
    return shards


def questions(count: int, *, answer: str | None = None) -> pl.DataFrame:
    """QUESTIONS rows of sums to evaluate on, graded by verifier ``miniature``; ``answer``: one for all."""
    rows = [
        (
            f"question-{number}",
            [{"role": "user", "content": question.question}],
            "arithmetic",
            answer if answer is not None else question.answer,
            "miniature",
            "suite",
            "eval",
        )
        for number, question in enumerate(world.questions(count, seed=11, split="eval"))
    ]
    return pl.DataFrame(rows, schema=dict(QUESTIONS.columns), orient="row")


def candidates(count: int = 12, each: int = 4) -> pl.DataFrame:
    """CANDIDATES rows: ``each`` solved sums a question, with made-up but consistent comparisons."""
    draw, numbers, rows = random.Random(6), np.random.default_rng(6), []
    for q, question in enumerate(world.questions(count, seed=6)):
        for c in range(each):
            text = world.solve(question, world.draw_style(draw), draw)
            sentences = text.count(". ") + 1
            teacher = int(numbers.integers(0, sentences))
            student = int(numbers.integers(0, sentences - teacher))
            rows.append(
                {
                    "sample_id": f"sample-{q}-{c}",
                    "question_id": f"question-{q}",
                    "candidate": c,
                    "text": text,
                    "teacher_tokens": len(text) // 3,
                    "student_tokens": len(text) // 2,
                    "sentences": sentences,
                    "teacher": teacher,
                    "student": student,
                    "common": sentences - teacher - student,
                    "mean_delta": float(numbers.normal(0, 0.1)),
                    "teacher_mean_logprob": float(-numbers.exponential(0.3)),
                    "student_mean_logprob": float(-numbers.exponential(0.5)),
                }
            )
    return pl.DataFrame(rows, schema=dict(CANDIDATES.columns))


def responses(texts: Sequence[str], tokenizer: ChatTokenizer) -> pl.DataFrame:
    """What a filter sees of responses with these texts: columns of SAMPLES and the host's own."""
    rows = []
    for number, text in enumerate(texts):
        ids, ends = tokenizer.encode_response(text, ended=True)
        rows.append(
            {
                "sample_id": f"sample-{number}",
                "question_id": f"question-{number}",
                "stage": "suite",
                "candidate": 0,
                "text": text,
                "token_ids": ids,
                "token_ends": ends,
                "logprobs": [-0.1] * len(ids),
                "logprobs_mode": "raw",
                "temperature": 1.0,
                "top_p": 1.0,
                "seed": number,
                "finish_reason": "stop",
                "prefix_end": 0,
                "model": "suite",
                "model_revision": "1",
                "tokenizer_hash": tokenizer.hash,
                "engine": "suite",
                "engine_version": "1",
                "student_token_ids": ids,
                "prompt_tokens": 20,
                "answer": "7",
                "verifier": "number",
                "correct": None,
                "think_opened": False,
            }
        )
    return pl.DataFrame(rows, schema=RESPONSE_COLUMNS)
