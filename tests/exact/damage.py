"""Deliberate damage to the code, each in one place: the patches behind ``breaks.BREAKS``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from dasd import kernels
from dasd.evaluation import verifier_evaluator as verifier
from dasd.models.tokens.sample_rows import EngineRows
from dasd.models.transformers import decoding, engine
from dasd.models.transformers.scoring import Scorer
from dasd.pipeline.stages import candidates, evaluate, mix, sample, select
from dasd.pipeline.work import requests
from dasd.training import loss
from dasd.training.attention import Segments
from dasd.training.loaded_rows import TrainRows
from dasd.training.row_maker import RowMaker
from dasd.training.torch import loop

Patch = pytest.MonkeyPatch


def row_mask(change: Callable[[list[int]], list[int]]) -> Callable[[Patch], None]:
    def apply(patch: Patch) -> None:
        right = RowMaker._row

        def wrong(maker: RowMaker, *row: Any) -> Any:
            sample_id, tokens, mask, weight, stage = right(maker, *row)
            return sample_id, tokens, change(mask), weight, stage

        patch.setattr(RowMaker, "_row", wrong)

    return apply


def moved_labels(places: int) -> Callable[[Patch], None]:
    def apply(patch: Patch) -> None:
        right = loop.collate

        def wrong(*arguments: Any) -> Any:
            batch = right(*arguments)
            return replace(batch, predictors=batch.predictors + places)

        patch.setattr(loop, "collate", wrong)

    return apply


def late_mask(patch: Patch) -> None:
    right = TrainRows.mask
    patch.setattr(TrainRows, "mask", lambda rows, row: np.roll(right(rows, row), -1))


def one_segment(patch: Patch) -> None:
    right = Segments.of
    patch.setattr(Segments, "of", staticmethod(lambda lengths, device: right([sum(lengths)], device)))


def one_segment_in_the_loss(patch: Patch) -> None:
    right = loss.model_arguments

    def wrong(batch: Any, attention: str) -> Any:
        return right(replace(batch, lengths=(sum(batch.lengths),)), attention)

    patch.setattr(loss, "model_arguments", wrong)


def trained_prefix(value: bool) -> Callable[[Patch], None]:
    def apply(patch: Patch) -> None:
        right = RowMaker.__init__

        def wrong(maker: RowMaker, recipe: Any, messages: Any, stage: str, _: bool, *others: Any) -> None:
            right(maker, recipe, messages, stage, value, *others)

        patch.setattr(RowMaker, "__init__", wrong)

    return apply


def shifted_scores(patch: Patch) -> None:
    right = Scorer._batch

    def wrong(scorer: Scorer, *arguments: Any) -> Any:
        logprobs, likeliest = right(scorer, *arguments)
        return [[*row[1:], row[0]] for row in logprobs], likeliest

    patch.setattr(Scorer, "_batch", wrong)


def shifted_samples(patch: Patch) -> None:
    right = engine.decode

    def wrong(*arguments: Any) -> Any:
        done = right(*arguments)
        for each in done:
            each.logprobs = [each.logprobs[-1], *each.logprobs[:-1]]
        return done

    patch.setattr(engine, "decode", wrong)


def shifted_prefix(patch: Patch) -> None:
    right = engine.decode

    def wrong(*arguments: Any) -> Any:
        done = right(*arguments)
        for each in done:
            each.prefix_logprobs = [*each.prefix_logprobs[1:], each.logprobs[0]]
        return done

    patch.setattr(engine, "decode", wrong)


def other_prefix(patch: Patch) -> None:
    right = engine.decode

    def wrong(model: Any, forward: Any, rows: Any, *others: Any) -> Any:
        done = right(model, forward, rows, *others)
        swapped = [replace(row, ids=(*row.ids[:-2], row.ids[-1], row.ids[-2])) for row in rows]
        return [
            replace(new, prefix_logprobs=old.prefix_logprobs)
            for old, new in zip(done, right(model, forward, swapped, *others), strict=True)
        ]

    patch.setattr(engine, "decode", wrong)


class Tempered:
    """A forward pass whose logits are divided by the temperature."""

    def __init__(self, forward: Any, temperature: float) -> None:
        self._forward, self._temperature = forward, temperature

    def __getattr__(self, name: str) -> Any:
        return getattr(self._forward, name)

    def logits(self, features: Any) -> Any:
        return self._forward.logits(features) / self._temperature


def tempered_logprobs(patch: Patch) -> None:
    right = engine.decode

    def wrong(model: Any, forward: Any, rows: Any, ends: Any, temperature: float, *others: Any) -> Any:
        tempered: Any = Tempered(forward, temperature)
        return right(model, tempered, rows, ends, 1.0, *others)

    patch.setattr(engine, "decode", wrong)


def cold_draws(patch: Patch) -> None:
    right = decoding.draw
    patch.setattr(
        decoding, "draw", lambda logprobs, _, top_p, uniforms: right(logprobs, 1.0, top_p, uniforms)
    )


def stage_temperature(patch: Patch) -> None:
    right = sample.SamplingSpec
    patch.setattr(sample, "SamplingSpec", lambda stage, _, top_p, cap: right(stage, 1.0, top_p, cap))


def evaluator_temperature(patch: Patch) -> None:
    right = verifier.SamplingSpec
    patch.setattr(verifier, "SamplingSpec", lambda stage, _, *rest: right(stage, 1.0, *rest))


def one_seed(patch: Patch) -> None:
    patch.setattr(requests, "seed_of", lambda *_: 7)


def token_ends(patch: Patch) -> None:
    right = EngineRows._text

    def wrong(rows: EngineRows, *arguments: Any) -> tuple[str, list[int]]:
        text, ends = right(rows, *arguments)
        return text, [end - (end < len(text.encode())) for end in ends]

    patch.setattr(EngineRows, "_text", wrong)


def swapped(patch: Patch) -> None:
    right = kernels.compare_sentences

    def wrong(teacher: Any, teacher_ends: Any, student: Any, student_ends: Any, *others: Any) -> pl.DataFrame:
        return right(student, student_ends, teacher, teacher_ends, *others)

    patch.setattr(kernels, "compare_sentences", wrong)


def kinds_swapped(patch: Patch) -> None:
    right = candidates.kinds
    patch.setattr(candidates, "kinds", lambda teacher, student, beta: right(student, teacher, beta))


def without_system(stage: Any) -> Callable[[Patch], None]:
    """Of the module of a stage: its conversations lose their system prompt."""

    def apply(patch: Patch) -> None:
        class Wrong(stage.QuestionLookup):  # type: ignore[misc, name-defined]
            def record(self, question_id: str) -> Any:
                found = super().record(question_id)
                if found is None:
                    return None
                identity, messages, *others = found
                return identity, [turn for turn in messages if turn["role"] != "system"], *others

        patch.setattr(stage, "QuestionLookup", Wrong)

    return apply


def kl(change: Callable[..., pl.DataFrame]) -> Callable[[Patch], None]:
    def apply(patch: Patch) -> None:
        right = evaluate.kl_metrics
        patch.setattr(evaluate, "kl_metrics", lambda *arguments: change(right, *arguments))

    return apply


def negative(right: Any, *arguments: Any) -> pl.DataFrame:
    found: pl.DataFrame = right(*arguments)
    return found.with_columns(-pl.col("value"))


def without_ends(right: Any, heldout: pl.DataFrame, scores: pl.DataFrame, *others: Any) -> pl.DataFrame:
    shorter = pl.col("logprobs").list.head(pl.col("logprobs").list.len() - 1)
    found: pl.DataFrame = right(heldout, scores.with_columns(shorter), *others)
    return found


def narrow_error(right: Any, *arguments: Any) -> pl.DataFrame:
    found: pl.DataFrame = right(*arguments)
    return found.with_columns(pl.col("standard_error") / 2**0.5)


def cut(change: Callable[[float, float], tuple[float, float]]) -> Callable[[Patch], None]:
    def apply(patch: Patch) -> None:
        right = mix.cut_end

        def wrong(text: str, ends: Any, cut_from: float, draw: float) -> int:
            return right(text, ends, *change(cut_from, draw))

        patch.setattr(mix, "cut_end", wrong)

    return apply


def low_cap(patch: Patch) -> None:
    patch.setattr(mix, "ceil", int)


def late_ties(patch: Patch) -> None:
    right = select.choose

    def wrong(questions: pl.Series, ranks: pl.Series, count: int) -> pl.Series:
        return right(questions.reverse(), ranks.reverse(), count).reverse()

    patch.setattr(select, "choose", wrong)
