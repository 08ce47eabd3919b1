"""The evaluator ``verifier``: every attempt sampled, graded by its question's own verifier, and kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from dasd.base.records import EvalSpec, Message, SampleRequest, SamplingSpec
from dasd.base.schemas import EVAL
from dasd.base.seeds import digest, seed_of
from dasd.errors import BackendError, InputError
from dasd.plugins.checked import CheckedVerifier, grade_rows
from dasd.plugins.registry import Registry
from dasd.plugins.roles import Teacher
from dasd.recipe.verifier_settings import VerifierSettings

__all__ = ["VerifierEvaluator"]


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One answer that is awaited, and how to grade it."""

    question_id: str
    attempt: int
    answer: str
    verifier: CheckedVerifier
    argument: str


class VerifierEvaluator:
    """Samples ``attempts`` answers a question and grades the text after the reasoning."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def evaluate(self, model: Teacher, questions: pl.DataFrame, spec: EvalSpec) -> Iterator[pl.DataFrame]:
        """Yields EVAL rows as answers come, at most ``spec.batch_size`` a frame; none for what is ``spec.done``.

        What the engine refuses goes to ``spec.on_refused``.

        An attempt's seed derives from benchmark, question, attempt and ``spec.seed``. ``tokens`` counts the
        end token; ``seconds`` is the time since the frame before, shared among its rows. Raises InputError
        naming a question without verifier or answer, before anything is sampled.
        """
        attempts: dict[str, _Attempt] = {}
        requests: list[SampleRequest] = []
        verifiers: dict[str, CheckedVerifier] = {}
        for row in questions.iter_rows(named=True):
            question_id: str = row["question_id"]
            for needed in ("verifier", "answer"):
                if row[needed] is None:
                    raise InputError(
                        f"benchmark {spec.benchmark}: question {question_id} has no {needed}; give it one, "
                        "or leave it out of questions.eval"
                    )
            how = VerifierSettings.of(row["verifier"])
            if how.component not in verifiers:
                verifiers[how.component] = self._registry.make_verifier(how.name, how.options)
            verifier = verifiers[how.component]
            messages = tuple(Message(turn["role"], turn["content"]) for turn in row["messages"])
            for attempt in range(spec.attempts):
                if (question_id, attempt) in spec.done:
                    continue
                key = (spec.benchmark, question_id, attempt, spec.seed)
                sample_id = digest(*key)
                attempts[sample_id] = _Attempt(question_id, attempt, row["answer"], verifier, how.argument)
                requests.append(SampleRequest(sample_id, question_id, messages, attempt, seed_of(*key)))

        def refused(sample_id: str, reason: str) -> None:
            each = attempts.pop(sample_id)
            spec.on_refused(each.question_id, each.attempt, reason)
            spec.on_rows(1)

        sampling = SamplingSpec(
            f"evaluate {spec.benchmark}", spec.temperature, spec.top_p, spec.max_tokens, refused
        )
        started = time.perf_counter()
        for frame in model.sample(requests, sampling):
            seconds = (time.perf_counter() - started) / max(1, frame.height)
            for samples in frame.iter_slices(spec.batch_size):
                yield _graded(samples, attempts, spec, seconds)
                spec.on_rows(samples.height)
            started = time.perf_counter()
        if attempts:
            missing = next(iter(attempts.values()))
            raise BackendError(
                f"benchmark {spec.benchmark}: the engine of {model.info.model} left out {len(attempts)} of "
                f"{len(requests)} answers, e.g. to question {missing.question_id}; run it again"
            )


def _graded(
    samples: pl.DataFrame, attempts: dict[str, _Attempt], spec: EvalSpec, seconds: float
) -> pl.DataFrame:
    """EVAL rows of sampled answers; takes their attempts out of those awaited."""
    awaited = [attempts.pop(sample_id) for sample_id in samples["sample_id"]]
    grades = grade_rows(
        [
            (each.verifier, text, each.answer, each.argument)
            for each, text in zip(awaited, samples["text"], strict=True)
        ]
    )
    for grade in grades:
        if grade.failure is not None:
            spec.on_failure(grade.failure)
    return pl.DataFrame(
        {
            "benchmark": [spec.benchmark] * len(awaited),
            "question_id": [each.question_id for each in awaited],
            "attempt": [each.attempt for each in awaited],
            "text": samples["text"],
            "extracted": [grade.extracted for grade in grades],
            "correct": [grade.correct for grade in grades],
            "finish_reason": samples["finish_reason"],
            "tokens": samples["token_ids"].list.len(),
            "seconds": [seconds] * len(awaited),
        },
        schema=dict(EVAL.columns),
    )
