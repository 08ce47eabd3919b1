"""Checks of the real backend and the real trainer on tiny Llamas, against plain forward passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from tests.exact.arithmetic import excess, in_words
from tests.exact.checks import FAR, numbers
from tests.exact.engine import make_registry, prompt_of, table_of
from tests.exact.models import SYSTEM, VOCABULARIES, Models, asked_words, plain_logprobs
from tests.exact.tables import END, JOINED, Table, entropy, log_of, sequences, tempered
from tests.exact.worlds import TEACHER, run_world

from dasd.base.records import ContinueRequest, Message, SamplingSpec
from dasd.base.seeds import seed_of
from dasd.recipe.model_settings import ModelSettings
from dasd.store import Run

__all__ = [
    "Trained",
    "check_backend",
    "check_backend_continues",
    "check_first_step",
    "response_logprobs",
    "train_world",
]

VOCABULARY = VOCABULARIES["joined"]
END_ID = VOCABULARY.index(END)
DRAWS = 1500


def ids(words: Sequence[str]) -> list[int]:
    """Token ids of words of the tokenizer that teacher and student share."""
    return [VOCABULARY.index(word) for word in words]


def response_logprobs(directory: Path, number: int, responses: Sequence[Sequence[int]]) -> list[list[float]]:
    """Log-probability of each token of responses to question ``number``: forward passes of equal lengths."""
    asked = ids(asked_words(number))
    found: dict[tuple[int, ...], list[float]] = {}
    for length in {len(response) for response in responses}:
        same = [tuple(response) for response in responses if len(response) == length]
        table = plain_logprobs(directory, [[*asked, *response] for response in same])
        for response, row in zip(same, table, strict=True):
            found[response] = [row[len(asked) - 1 + i, token].item() for i, token in enumerate(response)]
    return [found[tuple(response)] for response in responses]


def every_sequence(
    directory: Path, given: list[int], length: int, temperature: float, top_p: float
) -> dict[tuple[int, ...], float]:
    """Probability, tempered, of all that can follow ``given`` within ``length`` tokens: ended or cut off."""
    reached: dict[tuple[int, ...], float] = {(): 1.0}
    whole: dict[tuple[int, ...], float] = {}
    for _ in range(length):
        prefixes = list(reached)
        tables = plain_logprobs(directory, [[*given, *prefix] for prefix in prefixes])[:, -1].exp()
        longer: dict[tuple[int, ...], float] = {}
        for prefix, row in zip(prefixes, tables.tolist(), strict=True):
            now = tempered({str(i): p for i, p in enumerate(row)}, temperature, top_p)
            for token, p in now.items():
                into = whole if int(token) == END_ID else longer
                into[(*prefix, int(token))] = reached[prefix] * p
        reached = longer
    assert sum([*whole.values(), *reached.values()]) == pytest.approx(1, abs=1e-6), "the enumeration is wrong"
    return whole | reached


def check_backend(place: Path, models: Models, temperature: float = 0.6, top_p: float = 1.0) -> None:
    """The transformers backend draws from p**(1/T) / Z of a plain forward pass and reports log p at T = 1.

    The student's scores of the same tokens are those of its own plain forward pass.
    """
    run = run_world(
        place,
        models,
        "score-high",
        teacher=_real(models.teacher),
        student=_real(models.student),
        questions={"train": [{"source": "numbers", "count": 1}]},
        sampling={"candidates": DRAWS, "max_tokens": 3, "top_p": top_p, "chunk": DRAWS},
        filters={"truncated": False},
        stages=[{"name": "high", "kind": "off-policy", "temperature": temperature}],
    )
    samples = run.frame("samples", "sample-high").collect()
    drawn = [tuple(row) for row in samples["token_ids"].to_list()]
    _check_logprobs(models.teacher, samples, "sampled")
    scores = run.frame("scores", "score-high").collect()
    assert scores.height > 0.9 * DRAWS, "too few are scored"  # a response of the end token alone isn't
    _check_logprobs(models.student, scores, "scored")
    expected = every_sequence(models.teacher, ids(asked_words(0)), 3, temperature, top_p)
    wanted = {row: DRAWS * p for row, p in expected.items()}
    assert excess(Counter(drawn), wanted) < FAR, "another distribution"


def check_backend_continues(place: Path, models: Models, temperature: float = 0.6) -> None:
    """The transformers backend goes on from a prefix by the plain forward pass's distribution behind it."""
    teacher = make_registry().make_teacher(ModelSettings.model_validate(_real(models.teacher)))
    messages = (Message("system", SYSTEM), Message("user", "q 0 0 0 0"))
    prefix = ["ka ", "xo. Zu "]
    wanted = [
        ContinueRequest(f"s{n}", "q", messages, 0, seed_of("exact", n), "".join(prefix)) for n in range(600)
    ]
    frames = list(teacher.continue_(wanted, SamplingSpec("mix", temperature, 1.0, 2)))
    teacher.close()
    rows = pl.concat(frames)
    _check_logprobs(models.teacher, rows, "continued")
    assert rows["prefix_end"].to_list() == [len("".join(prefix))] * 600, "another prefix"
    drawn = Counter(tuple(tokens[len(prefix) :]) for tokens in rows["token_ids"].to_list())
    expected = every_sequence(models.teacher, ids([*asked_words(0), *prefix]), 2, temperature, 1.0)
    assert excess(drawn, {row: 600 * p for row, p in expected.items()}) < FAR, "another distribution"


def _real(directory: Path) -> dict[str, Any]:
    return {
        "model": str(directory),
        "backend": "transformers",
        "options": {},
        "precision": "fp32",
        "device": "cpu",
        "batch_size": 500,
    }


def _check_logprobs(directory: Path, rows: pl.DataFrame, named: str) -> None:
    distinct = {
        tuple(tokens): logprobs for tokens, logprobs in rows.select("token_ids", "logprobs").iter_rows()
    }
    wanted = response_logprobs(directory, 0, list(distinct))
    for tokens, exact in zip(distinct, wanted, strict=True):
        assert distinct[tokens] == pytest.approx(exact, abs=1e-4), f"{named} log-probabilities are others"


def train_world(
    place: Path, models: Models, *, candidates: int, even: bool, teacher: dict[str, Any], **trainer: Any
) -> Run:
    """Train the student Llama by the torch trainer on all responses of a tabular teacher to two questions."""
    options = {**teacher, "even": candidates} if even else teacher
    plain = {
        "trainer": "torch",
        "options": {"attention": "segments"},
        "batch_size": 1,  # one pack holds them all: every step is over all responses
        "max_length": 2**14,
        "weight_decay": 0.0,
        "save_every": 10**6,
    }
    return run_world(
        place,
        models,
        "train-high",
        teacher={"options": options},
        sampling={"candidates": candidates},
        select={"selector": "random", "per_question": candidates},
        trainer=plain | trainer,
    )


def check_first_step(place: Path, models: Models, **options: Any) -> None:
    """One real training step: its rows are prompt and response, its loss the exact mean over the response.

    The loss is worked out from plain forward passes of one response each, without packs and without masks.
    """
    run = train_world(
        place,
        models,
        candidates=8,
        even=False,
        teacher=TEACHER,
        epochs=1,
        learning_rate=1e-4,
        max_steps=1,
        max_length=96,  # several packs of several responses
        batch_size=64,
        micro_batch_size=2,
        **options,
    )
    samples = numbers(run, "sample-high")
    rows = run.frame("train", "train-high").collect()
    nll, tokens = 0.0, 0
    for sample_id, number, text in samples.select("sample_id", "number", "text").iter_rows():
        words = [*in_words(text, JOINED), END]
        nll -= sum(response_logprobs(models.student, number, [ids(words)])[0])
        tokens += len(words)
        row = rows.row(by_predicate=pl.col("sample_id") == sample_id, named=True)
        assert row["token_ids"] == ids([*asked_words(number), *words]), "other tokens"
    losses = run.frame("losses").collect()
    assert losses.height == 1, "more than one step"
    assert losses["loss"][0] == pytest.approx(nll / tokens, abs=1e-4), "another loss of the first step"
    assert run.summary("train-high")["trained_tokens"] == tokens, "other tokens are trained"


class Trained:
    """What a training on a tabular teacher's responses reached, by enumeration of every response."""

    def __init__(self, run: Run, teacher: Table) -> None:
        checkpoint = run.directory / "checkpoints" / "stage1"
        kls, entropies, lengths = [], [], []
        self.drawn_kl = 0.0
        """KL( responses trained on || student ), nats a response, mean over the questions."""
        self.parameters = 0
        """Free parameters of the tables as far as the teacher can reach: outcomes less one, by prefix."""
        samples = numbers(run, "sample-high")
        for parity in (0, 1):
            prompt = prompt_of(parity)
            whole = sequences(teacher, prompt)
            student = [
                sum(row) for row in response_logprobs(checkpoint, parity, [ids(words) for words in whole])
            ]
            exact = [sum(log_of(teacher, prompt, words)) for words in whole]
            kls.append(
                sum(float(p) * (t - s) for p, t, s in zip(whole.values(), exact, student, strict=True))
            )
            entropies.append(entropy(teacher, prompt)[0])
            lengths.append(entropy(teacher, prompt)[1])
            drawn = Counter(samples.filter(pl.col("number") == parity)["text"].to_list())
            by_text = dict(zip(("".join(words[:-1]) for words in whole), student, strict=True))
            total = drawn.total()
            self.drawn_kl += (
                sum(
                    n / total * (torch.log(torch.tensor(n / total)).item() - by_text[text])
                    for text, n in drawn.items()
                )
                / 2
            )
            prefixes = {words[:n] for words, n in product(whole, range(teacher.depth)) if n < len(words)}
            self.parameters += sum(len(teacher.next(prompt, prefix)) - 1 for prefix in prefixes)
        self.kl = sum(kls) / 2
        """KL( teacher || student ), nats a response, mean over the questions."""
        self.teacher_nats = sum(entropies) / sum(lengths)
        """The teacher's entropy in nats a token of its responses."""
        self.loss = float(run.frame("losses").collect()["loss"][-1])
        """Loss of the last step, over all responses."""


def small_teacher() -> Table:
    """The table of the trainings below."""
    return table_of(SMALL)


SMALL = {"table": "teacher", "bits": 2, "depth": 2}
