"""Checks of on-policy rounds: what they estimate and what they minimise, against tables and plain forward passes."""

from __future__ import annotations

from collections import Counter
from math import exp, log
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from tests.exact.arithmetic import in_words
from tests.exact.checks import numbers
from tests.exact.checks_torch import ids
from tests.exact.engine import prompt_of, table_of
from tests.exact.models import VOCABULARIES, Models, asked_words, plain_logprobs
from tests.exact.tables import END, JOINED, Table, kl_moments, log_of, sequences
from tests.exact.worlds import run_world

from dasd.store import Run

__all__ = ["check_rollout", "check_round", "real_rounds"]

ROUND_TEACHER: dict[str, Any] = {"table": "teacher", "bits": 3, "depth": 3, "floor": 1}
"""Every word is possible everywhere, so that no divergence is infinite."""
ROUND_STUDENT: dict[str, Any] = {"table": "student", "bits": 2, "depth": 2}
EVEN = 16
"""A student's answer is never less likely than one in so many."""
TOP = 4
"""Of five words: the least likely one is what all others stand for."""


def round_teacher() -> Table:
    """The teacher's table."""
    return table_of(ROUND_TEACHER)


def on_policy_world(place: Path, models: Models, until: str, **changes: Any) -> Run:
    """One round of a recipe that has nothing else."""
    own = {"name": "own", "kind": "on-policy", "rounds": 1, "candidates": EVEN, "top_k": TOP}
    stage = own | changes.pop("stage", {})
    base = {"teacher": {"options": ROUND_TEACHER}, "stages": [stage]}
    return run_world(place, models, until, **(base | changes))


def check_rollout(place: Path, models: Models) -> None:
    """Answers as often as the student gives them: the estimates are the divergence and the entropy themselves.

    Each token's weight is the difference of the tables' logarithms, and the likeliest tokens are the teacher's table.
    """
    student = {"options": {**ROUND_STUDENT, "even": EVEN}}
    run = on_policy_world(place, models, "train-own", student=student)
    teacher, table = round_teacher(), table_of(ROUND_STUDENT)
    answers = numbers(run, "rollout-own-1")
    for parity in (0, 1):
        mine = answers.filter(pl.col("number") == parity)["text"].to_list()
        wanted = {"".join(w[:-1]): p * EVEN for w, p in sequences(table, prompt_of(parity)).items()}
        assert Counter(mine) == wanted, "answers are not as often as their probability"
    summary = run.summary("rollout-own-1")
    exact = sum(kl_moments(table, teacher, prompt_of(parity))[0] for parity in (0, 1)) / 2
    assert summary["reverse_kl_nats_per_response"] == pytest.approx(exact, abs=1e-6), "another divergence"
    rows = run.frame("on_policy_train", "train-own").collect()
    assert rows.height == 2 * EVEN, "answers are missing"
    for row, (number, text) in zip(
        rows.iter_rows(named=True), answers.select("number", "text").iter_rows(), strict=True
    ):
        words, prompt = [*in_words(text, JOINED), END], prompt_of(number)
        asked = asked_words(number)
        assert row["token_ids"] == ids([*asked, *words]), "other tokens"
        assert row["loss_mask"] == [len(asked), len(words)], "other tokens are trained"
        own, theirs = (log_of(each, prompt, words) for each in (table, teacher))
        assert row["sampled_logprobs"] == pytest.approx(own, abs=1e-6), "another p0"
        told = [q - p for q, p in zip(theirs, own, strict=True)]
        assert row["token_weights"] == pytest.approx(told, abs=1e-5), "other weights"
        for place_of_word in range(len(words)):
            after = teacher.next(prompt, tuple(words[:place_of_word]))
            likeliest = sorted(after.values(), reverse=True)[:TOP]
            part = slice(TOP * place_of_word, TOP * (place_of_word + 1))
            found = dict(zip(row["top_ids"][part], row["top_logprobs"][part], strict=True))
            assert sorted(map(exp, found.values()), reverse=True) == pytest.approx(
                [float(p) for p in likeliest], abs=1e-6
            ), "other likeliest tokens"
            for token, logprob in found.items():
                word = VOCABULARIES["joined"][token]
                assert logprob == pytest.approx(log(after[word]), abs=1e-6), "the likeliest of another place"


def check_round(place: Path, models: Models, loss: str = "reverse-kl", **trainer: Any) -> None:
    """The first step of a real training: its loss is the mean of what each form says, from plain forward passes."""
    one_step = {"trainer": "torch", "batch_size": 64, "max_steps": 1, "learning_rate": 1e-4}
    run = real_rounds(place, models, 1, loss=loss, trainer=one_step | trainer)
    answers = numbers(run, "rollout-own-1")
    total, tokens, advantages, forward = 0.0, 0, 0.0, 0.0
    for number, answer in answers.select("number", "token_ids").iter_rows():
        asked = ids(asked_words(number))
        behind = slice(len(asked) - 1, len(asked) + len(answer) - 1)
        own, theirs = (
            plain_logprobs(each, [[*asked, *answer]])[0, behind] for each in (models.student, models.teacher)
        )
        for logp, logq, token in zip(own, theirs, answer, strict=True):
            total += _distance(logp, logq, token, loss)
            advantages += float(logq[token] - logp[token])
            forward += _distance(logp, logq, token, "forward-kl")
            tokens += 1
    losses = run.frame("on_policy_losses").collect()
    assert losses.height == 1, "more than one step"
    assert losses["loss"][0] == pytest.approx(total / tokens, rel=1e-4), "another loss of the first step"
    assert losses["reverse_kl"][0] == pytest.approx(-advantages / tokens, rel=1e-4), "another estimate"
    told = None if loss == "sampled-reverse-kl" else pytest.approx(forward / tokens, rel=1e-4)
    assert losses["forward_kl"][0] == told, "another forward divergence"
    assert losses["kl_from_start"][0] == pytest.approx(0, abs=1e-6), "the student has moved before it began"


def real_rounds(place: Path, models: Models, rounds: int, **changes: Any) -> Run:
    """Rounds in which a Llama answers two questions and another one, with the same tokenizer, scores it."""
    torch.set_num_threads(1)
    real = {"backend": "transformers", "options": {}, "precision": "fp32", "device": "cpu"}
    stage = {"rounds": rounds, "loss": changes.pop("loss"), **changes.pop("stage", {})}
    return on_policy_world(
        place,
        models,
        "train-own",
        teacher={"model": str(models.teacher), **real},
        student={"model": str(models.student), **real},
        sampling={"max_tokens": 8},
        stage=stage,
        **changes,
    )


def _distance(logp: Any, logq: Any, token: int, loss: str) -> float:
    """One token's loss from both log-probabilities (V,)."""
    if loss == "sampled-reverse-kl":
        return float(logp[token] - logq[token])
    likeliest = logq.argsort(descending=True)[:TOP]
    p, q = ([*table[likeliest].exp().tolist()] for table in (logp, logq))
    p, q = ([*each, 1 - sum(each)] for each in (p, q))
    first, second = (p, q) if loss == "reverse-kl" else (q, p)
    return sum(a * log(a / b) for a, b in zip(first, second, strict=True))
