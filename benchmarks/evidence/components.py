"""What the suite adds to the registry for itself: an evaluator of its measures, and a control selector.

The trainings of most arms need nothing of it: their recipes run with `dasd pipeline` too.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

import polars as pl

from benchmarks.evidence.worlds import World
from dasd.api import Teacher
from dasd.base.records import ContinueRequest, EvalSpec, SampleRequest, SamplingSpec
from dasd.base.seeds import uniform
from dasd.curation.sources.file import FileOptions, FileQuestions
from dasd.evaluation.verifier_evaluator import VerifierEvaluator
from dasd.models.miniature.world import Question
from dasd.plugins.registry import Registry

__all__ = ["FORCED", "SOURCE", "TEMPERATURES", "register"]

SOURCE = "evidence"
"""Source of evaluation questions that the suite's evaluator answers; read from a file as by source `file`."""
TEMPERATURES = {"warm": 0.6, "greedy": 0.0}
"""Benchmark label -> temperature."""
FORCED = "style-"
"""A benchmark of this label and a style's name: every answer is begun in that style."""


def register(registry: Registry, world: World) -> None:
    """Add the source and evaluator ``evidence`` and the selector ``style-matched`` for one world."""
    registry.questions(
        SOURCE,
        FileQuestions,
        options=FileOptions,
        doc="Questions that are asked in one way.",
        evaluator=SOURCE,
    )
    registry.evaluator(
        SOURCE, lambda known: _Evaluator(known, world), doc="Temperature or style by the benchmark's label."
    )
    registry.selector(
        "style-matched",
        lambda _, seed: _StyleMatched(world, seed),
        doc="Random among the candidates in the style of divergence's pick (a control).",
        needs_logprobs=True,
    )


class _Evaluator:
    """The evaluator ``verifier``, at the temperature or in the style that the benchmark's label names."""

    def __init__(self, registry: Registry, world: World) -> None:
        self._inner = VerifierEvaluator(registry)
        self._world = world

    def evaluate(self, model: Teacher, questions: pl.DataFrame, spec: EvalSpec) -> Iterator[pl.DataFrame]:
        """EVAL rows as of ``verifier``. A forced answer's text and tokens include the beginning."""
        if spec.benchmark.startswith(FORCED):
            style = spec.benchmark.removeprefix(FORCED)
            return self._inner.evaluate(_Forced(model, self._world, style), questions, spec)
        return self._inner.evaluate(model, questions, replace(spec, temperature=TEMPERATURES[spec.benchmark]))


class _Forced:
    """A model whose answers all begin in one style: it goes on from a prefix where it is asked for an answer."""

    def __init__(self, model: Teacher, world: World, style: str) -> None:
        self._model, self._world, self._style = model, world, style
        self.info = model.info
        self.continue_ = model.continue_
        self.score = model.score

    def sample(self, requests: Sequence[SampleRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        """Continuations of the style's prefix; the prefix depends on the request's seed alone."""
        begun = [
            ContinueRequest(
                sample_id=each.sample_id,
                question_id=each.question_id,
                messages=each.messages,
                candidate=each.candidate,
                seed=each.seed,
                prefix=self._world.prefix(
                    Question(each.messages[-1].content, ""), self._style, random.Random(each.seed)
                ),
                max_tokens=each.max_tokens,
            )
            for each in requests
        ]
        return self._model.continue_(begun, spec)

    def close(self) -> None:
        """The model is its owner's to close."""


class _StyleMatched:
    """Random among those of a question's candidates whose style is that of the most Teacher sentences."""

    needs_student = False

    def __init__(self, world: World, seed: int) -> None:
        self._world, self._seed = world, seed

    def rank(self, candidates: pl.DataFrame, student: Teacher | None) -> pl.Series:
        """A draw in [0, 1), and 1 more in the style of divergence's pick (the earlier of equal counts)."""
        del student
        styles = [self._world.style_of(text) or "" for text in candidates.get_column("text")]
        draws = [uniform("style-matched", self._seed, each) for each in candidates.get_column("sample_id")]
        rows = candidates.select("question_id", "teacher").with_columns(
            pl.Series("style", styles), pl.Series("draw", draws, dtype=pl.Float64)
        )
        first = pl.col("style").sort_by("teacher", descending=True, maintain_order=True).first()
        return rows.select(
            pl.col("draw") + (pl.col("style") == first.over("question_id")).cast(pl.Float64)
        ).to_series()
