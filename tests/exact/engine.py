"""The tabular models as an inference backend, and the registry of the worlds that run on them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import log
from typing import Any

import numpy as np
import polars as pl
from tests.exact.models import ASKED, SYSTEM, VOCABULARIES
from tests.exact.tables import END, Table, invert, log_of, sequences, tempered
from tests.stage_run import ScriptedTrainer

from dasd.base.records import (
    ContinueRequest,
    EvalSpec,
    ModelInfo,
    SampleRequest,
    SamplingSpec,
    ScoreRequest,
    ScoringSpec,
)
from dasd.base.schemas import EVAL, QUESTIONS
from dasd.curation import filters, selectors
from dasd.models.tokens.chat import ChatTokenizer
from dasd.models.tokens.sample_rows import EngineRows, Generated, Prompted, Text, TopTokens
from dasd.models.transformers import builtin as backends
from dasd.plugins.registry import Registry
from dasd.recipe.model_settings import ModelSettings
from dasd.recipe.question_settings import QuestionSource

__all__ = ["TabularModel", "draw", "make_registry", "prompt_of", "table_of"]


def prompt_of(number: int, *, system: bool = True) -> str:
    """What a table goes by of a prompt: an even or an odd question, with the system prompt or without."""
    return f"{'told' if system else 'bare'} {number % 2}"


def table_of(options: dict[str, Any]) -> Table:
    """The table that a model's options in a recipe name."""
    words = VOCABULARIES[options.get("tokens", "joined")][4 : -len(ASKED)]
    return Table(options["table"], options["bits"], options["depth"], options.get("floor", 0), words)


def draw(
    table: Table, prompt: str, given: tuple[str, ...], limit: int, seed: int, temperature: float, top_p: float
) -> list[str]:
    """New words behind ``given``, by inverse CDF, a uniform number a word."""
    uniforms = random.Random(seed)
    words: list[str] = []
    while len(words) < limit and words[-1:] != [END]:
        now = tempered(table.next(prompt, (*given, *words)), temperature, top_p)
        words.append(invert(now, uniforms.random())[0])
    return words


class TabularModel:
    """``Teacher`` protocol over a table. Options: ``table``, ``bits``, ``depth``, ``floor``, ``tokens``, and

    ``even: N``: no chance at all; of N = 1 / (least probability of a sequence) candidates or questions each
    response is given exactly as often as its probability says; ``each: true``: candidate c is response c.
    """

    def __init__(self, settings: ModelSettings) -> None:
        self._options = dict(settings.options)
        self._table = table_of(self._options)
        self._vocabulary = VOCABULARIES[str(self._options.get("tokens", "joined"))]
        chat = ChatTokenizer.load(settings)
        self.info = ModelInfo(settings.model, "r1", chat.hash, "tabular", "1", "raw", 256)
        self._rows = EngineRows(chat, self.info)

    def sample(self, requests: Sequence[SampleRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        yield self._answered(self._rows.prompted(requests, spec)[::-1], spec)

    def continue_(self, requests: Sequence[ContinueRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        yield self._answered(self._rows.prompted(requests, spec)[::-1], spec)

    def score(self, requests: Sequence[ScoreRequest], spec: ScoringSpec) -> Iterator[pl.DataFrame]:
        texts = self._rows.texts(requests)[::-1]
        logprobs = [
            log_of(self._table, self._prompt(text.prompt_ids)[0], self._words(text.token_ids))
            for text in texts
        ]
        top = [self._top(text, spec.top) for text in texts] if spec.top else None
        yield self._rows.scores(texts, logprobs, top)

    def close(self) -> None:
        pass

    def _words(self, ids: Sequence[int]) -> tuple[str, ...]:
        return tuple(self._vocabulary[i] for i in ids)

    def _top(self, text: Text, count: int) -> TopTokens:
        """The likeliest words behind each part of the text; of equally likely ones the lower id."""
        words = self._words(text.token_ids)
        found = []
        for place in range(len(words)):
            after = self._table.next(self._prompt(text.prompt_ids)[0], words[:place])
            ids = {self._vocabulary.index(word): p for word, p in after.items()}
            found.append(sorted(ids.items(), key=lambda item: (-item[1], item[0]))[:count])
        return TopTokens(
            np.array([[token for token, _ in each] for each in found], np.uint32),
            np.array([[log(p) for _, p in each] for each in found], np.float32),
        )

    def _prompt(self, ids: Sequence[int]) -> tuple[str, int]:
        words = self._words(ids)
        number = int("".join(word.strip() for word in words if word.strip().isdigit()))
        return prompt_of(number, system=f"{SYSTEM} " in words), number

    def _answered(self, prompted: Sequence[Prompted], spec: SamplingSpec) -> pl.DataFrame:
        return self._rows.samples(prompted, [self._generated(each, spec) for each in prompted], spec)

    def _generated(self, each: Prompted, spec: SamplingSpec) -> Generated:
        prompt, number = self._prompt(each.prompt_ids)
        given = self._words(each.prefix_ids)
        if self._options.get("each"):
            whole = list(sequences(self._table, prompt))
            new = list(whole[each.request.candidate % len(whole)])
        elif self._options.get("even"):
            count = int(str(self._options["even"]))
            new = self._even(
                prompt, Fraction(2 * ((number // 2 + each.request.candidate) % count) + 1, 2 * count)
            )
        else:
            new = draw(
                self._table, prompt, given, each.limit, each.request.seed, spec.temperature, spec.top_p
            )
        logprobs = log_of(self._table, prompt, [*given, *new])
        return Generated(
            [self._vocabulary.index(word) for word in new],
            logprobs[len(given) :],
            logprobs[: len(given)],
            new[-1] == END,
        )

    def _even(self, prompt: str, u: Fraction | float) -> list[str]:
        words: list[str] = []
        while words[-1:] != [END]:
            word, u = invert(self._table.next(prompt, tuple(words)), u)
            words.append(word)
        return words


class NumberQuestions:
    """``count`` questions ``q 0 0 0 0``, ``q 0 0 0 1``, ... of domains even and odd; ``answer``: of all of them."""

    def load(self, source: QuestionSource, split: str, seed: int) -> pl.DataFrame:
        first = int(str(source.options.get("first", 0)))
        rows = [
            (
                f"{split}{n:04d}",
                [{"role": "user", "content": " ".join(["q", *f"{n:04d}"])}],
                ("even", "odd")[n % 2],
                *(source.options.get("answer"), "exact" if "answer" in source.options else None),
                *("numbers", split),
            )
            for n in range(first, first + (source.count or 0))
        ]
        return pl.DataFrame(rows, schema=dict(QUESTIONS.columns), orient="row")


class NoEvaluator:
    """Rows without an answer: the worlds ask for the KL alone."""

    def evaluate(self, model: Any, questions: pl.DataFrame, spec: EvalSpec) -> Iterator[pl.DataFrame]:
        rows = [
            (spec.benchmark, question, attempt, "", None, False, "stop", 0, 0.0)
            for question in questions["question_id"]
            for attempt in range(spec.attempts)
        ]
        yield pl.DataFrame(rows, schema=dict(EVAL.columns), orient="row")


def make_registry() -> Registry:
    """Built-in filters, selectors, backend, trainer, evaluator and verifiers; tables beside them."""
    from dasd.evaluation import builtin as evaluators
    from dasd.evaluation import verifiers
    from dasd.training.torch import builtin as trainers

    registry = Registry()
    for built_in in (backends, filters, selectors, trainers, evaluators, verifiers):
        built_in.dasd_register(registry)
    registry.teacher("tabular", TabularModel, gives_top=True)
    registry.questions("numbers", NumberQuestions)
    registry.trainer("copying", lambda _: ScriptedTrainer(), trains_on_policy=True)
    registry.evaluator("none", lambda _: NoEvaluator())
    return registry
