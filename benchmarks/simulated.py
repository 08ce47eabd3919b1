"""An engine without a model: answers of log-normal lengths whose tokens follow from the request's seed, many at a time.

It keeps the time that an engine would take on a clock of its own (``Simulated.clock``), so a day of work passes in
minutes: what is measured is dasd. Used by benchmarks that need millions of rows, or hundreds of interruptions.
"""

from __future__ import annotations

import heapq
import math
import zlib
from collections.abc import Iterable, Iterator
from typing import ClassVar

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from dasd.api import (
    SAMPLES,
    ChatTokenizer,
    ContinueRequest,
    EngineRows,
    ModelInfo,
    ModelSettings,
    Registry,
    SampleRequest,
    SamplingSpec,
    ScoreRequest,
    ScoringSpec,
    Text,
)

__all__ = ["Answers", "Options", "Simulated", "register"]

FRAME = 256
"""Rows of a frame."""


class Options(BaseModel):
    """Options of the backend ``simulated``. Times in seconds of its own clock."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    together: int = 1024
    mean: float = 138.0
    """Tokens of a response."""
    spread: float = 0.8
    step_seconds: float = 0.012
    step_seconds_a_sequence: float = 0.00002


class Answers:
    """What a request is answered: words of the tokenizer, drawn by its seed."""

    def __init__(self, chat: ChatTokenizer, options: Options) -> None:
        pieces = {token: chat.decode([token]) for token in range(min(chat.vocab_size, 4096))}
        words = {token: text for token, text in pieces.items() if text.strip().isalnum() and text.isascii()}
        self._ids = np.array(list(words), dtype=np.uint32)
        self._words = [text.encode() for text in words.values()]
        self._sizes = np.array([len(word) for word in self._words], dtype=np.uint32)
        self._end = chat.eos_id
        self._middle = math.log(options.mean) - options.spread**2 / 2
        self._spread = options.spread

    def length(self, seed: int, most: int) -> int:
        """Tokens, the end token among them unless it is cut at ``most``."""
        return max(
            2,
            min(
                most, round(np.random.Generator(np.random.Philox(seed)).lognormal(self._middle, self._spread))
            ),
        )

    def of(self, seed: int, most: int) -> tuple[str, list[int], list[int], list[float], str]:
        """Text, token ids, their ends, log-probabilities and the reason of the end."""
        length = self.length(seed, most)
        stops = length < most
        drawn = np.random.Generator(np.random.Philox(seed + 1))
        places = drawn.integers(len(self._ids), size=length - stops)
        text = b"".join([self._words[place] for place in places]).decode()
        ends = np.cumsum(self._sizes[places])
        logprobs = -drawn.exponential(0.3, size=length).astype(np.float32)
        ids = self._ids[places].tolist()
        if stops:
            return text, [*ids, self._end], [*ends.tolist(), int(ends[-1])], logprobs.tolist(), "stop"
        return text, ids, ends.tolist(), logprobs.tolist(), "length"


class Simulated:
    """The backend. ``clock`` is shared by all of a process: one engine is open at a time."""

    clock: ClassVar[float] = 0.0

    def __init__(self, settings: ModelSettings) -> None:
        self._options = Options.model_validate(settings.options)
        self._chat = ChatTokenizer.load(settings)
        self._answers = Answers(self._chat, self._options)
        self.info = ModelInfo(
            settings.model,
            "simulated",
            self._chat.hash,
            "simulated",
            "1",
            "raw",
            2**20,
            concurrency=self._options.together,
        )
        self._rows = EngineRows(self._chat, self.info)

    def sample(self, requests: Iterable[SampleRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        """As ``Teacher.sample``: shorter answers before longer ones."""
        held: list[SampleRequest] = []
        for request in self._finished(requests, spec):
            held.append(request)
            if len(held) == FRAME:
                yield self._frame(held, spec)
                held = []
        if held:
            yield self._frame(held, spec)

    def continue_(self, _requests: Iterable[ContinueRequest], _spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        """Not simulated."""
        raise NotImplementedError

    def score(self, requests: Iterable[ScoreRequest], spec: ScoringSpec) -> Iterator[pl.DataFrame]:
        """As ``Teacher.score``; log-probabilities are drawn by the sample's name."""
        held: list[Text] = []
        for text in self._rows.each_text(requests, spec.on_refused):
            held.append(text)
            if len(held) == FRAME:
                yield self._scores(held)
                held = []
        if held:
            yield self._scores(held)

    def close(self) -> None:
        """Nothing is held."""

    def _finished(self, requests: Iterable[SampleRequest], spec: SamplingSpec) -> Iterator[SampleRequest]:
        unread, steps = iter(requests), 0
        running: list[tuple[int, int, SampleRequest]] = []
        order = 0
        while True:
            while len(running) < self._options.together and (request := next(unread, None)) is not None:
                length = self._answers.length(request.seed, request.max_tokens or spec.max_tokens)
                heapq.heappush(running, (steps + length, order, request))
                order += 1
            if not running:
                return
            count = len(running)
            ends, _, request = heapq.heappop(running)
            each = self._options.step_seconds + count * self._options.step_seconds_a_sequence
            Simulated.clock += (ends - steps) * each
            steps = ends
            yield request

    def _frame(self, requests: list[SampleRequest], spec: SamplingSpec) -> pl.DataFrame:
        info = self.info
        rows = []
        for request in requests:
            text, ids, ends, logprobs, reason = self._answers.of(
                request.seed, request.max_tokens or spec.max_tokens
            )
            rows.append(
                (
                    *(
                        request.sample_id,
                        request.question_id,
                        spec.stage,
                        request.candidate,
                        text,
                        ids,
                        ends,
                        logprobs,
                    ),
                    *(
                        "raw",
                        spec.temperature,
                        spec.top_p,
                        request.seed,
                        reason,
                        0,
                        info.model,
                        info.model_revision,
                    ),
                    *(info.tokenizer_hash, info.engine, info.engine_version),
                )
            )
        return pl.DataFrame(rows, schema=dict(SAMPLES.columns), orient="row")

    def _scores(self, texts: list[Text]) -> pl.DataFrame:
        logprobs = []
        for text in texts:
            drawn = np.random.Generator(np.random.Philox(zlib.crc32(text.request.sample_id.encode())))
            logprobs.append((-drawn.exponential(1.0, size=len(text.token_ids))).tolist())
        return self._rows.scores(texts, logprobs)


def register(registry: Registry) -> None:
    """The backend ``simulated``."""
    registry.teacher("simulated", Simulated, options=Options, concurrency="together")
