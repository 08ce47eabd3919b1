"""A scripted model that is kept full, on a clock of its own."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, ClassVar

import polars as pl
from tests.stage_run import ScriptedModel

from dasd.base.records import ContinueRequest, SampleRequest, SamplingSpec, ScoreRequest, ScoringSpec
from dasd.recipe.model_settings import ModelSettings

TOGETHER = 4


class Fed(ScriptedModel):
    """Works on four requests at a time; each takes a time drawn from its name, log-normal or as a test says."""

    seconds: ClassVar[Callable[[str], float]] = staticmethod(
        lambda sample_id: random.Random(sample_id).lognormvariate(0.0, 0.8)
    )
    asked: ClassVar[list[str]] = []
    given: ClassVar[list[str]] = []
    done: ClassVar[list[str]] = []
    """Stage and sample_id of each that was given."""
    calls_made: ClassVar[int] = 0

    @classmethod
    def forget(cls) -> None:
        """As before the first test."""
        cls.fail_after = None
        cls.calls_made = 0
        for seen in (cls.asked, cls.given, cls.done):
            seen.clear()

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        self.info = replace(self.info, concurrency=TOGETHER)

    def _fed(
        self, stage: str, requests: Iterable[Any], answer: Callable[[Any], pl.DataFrame]
    ) -> Iterator[pl.DataFrame]:
        type(self).calls_made += 1
        unread, running, now, ended = iter(requests), [], 0.0, False
        while True:
            while not ended and len(running) < TOGETHER:
                request = next(unread, None)
                if request is None:
                    ended = True
                    break
                self.asked.append(request.sample_id)
                heapq.heappush(
                    running,
                    (
                        now + type(self).seconds(request.sample_id),
                        request.sample_id,
                        len(self.asked),
                        request,
                    ),
                )
            if not running:
                return
            now, sample_id, _, request = heapq.heappop(running)
            row = answer(request)
            self.given.append(sample_id)
            type(self).done.append(f"{stage} {sample_id}")
            yield row

    def sample(self, requests: Iterable[SampleRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        return self._fed(spec.stage, requests, lambda each: next(ScriptedModel.sample(self, [each], spec)))

    def continue_(self, requests: Iterable[ContinueRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        return self._fed(spec.stage, requests, lambda each: next(ScriptedModel.continue_(self, [each], spec)))

    def score(self, requests: Iterable[ScoreRequest], spec: ScoringSpec) -> Iterator[pl.DataFrame]:
        return self._fed(spec.stage, requests, lambda each: next(ScriptedModel.score(self, [each], spec)))
