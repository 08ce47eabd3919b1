"""The bench of a teacher's checks: one open engine, what it is asked, and how its rows are read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from dasd.api import ModelInfo, OnRefused, SampleRequest, SamplingSpec, Teacher
from dasd.base.records import Message
from dasd.base.schemas import SAMPLES
from dasd.errors import DasdError
from dasd.models.miniature import world
from dasd.models.tokens.chat import ChatTokenizer
from dasd.recipe.model_settings import ModelSettings

__all__ = ["QUESTIONS", "Bench", "Fed", "apart", "check_refused", "gathered", "tiles"]

QUESTIONS = tuple(question.question for question in world.questions(4, seed=11, split="eval"))
"""What teachers are asked: sums that the miniature teacher can do."""
CANDIDATES = 3


class Fed:
    """An iterator of requests, and what the teacher made of it."""

    def __init__(self, requests: Sequence[SampleRequest], error: Exception | None = None) -> None:
        self.requests = requests
        self.error = error
        """What it ends with, if anything."""
        self.read = 0
        self.ended = False
        self.threads: set[int] = set()
        self.rows: list[str] = []
        self.read_at_first: int | None = None
        """How many had been read when the first row came."""
        self.most = 0
        """Most that were read and not answered."""

    def __iter__(self) -> Iterator[SampleRequest]:
        for request in self.requests:
            self.threads.add(threading.get_ident())
            self.read += 1
            self.most = max(self.most, self.read - len(self.rows))
            yield request
        self.ended = True
        if self.error is not None:
            raise self.error

    def take(self, frame: pl.DataFrame) -> None:
        """Rows that came."""
        if frame.height and self.read_at_first is None:
            self.read_at_first = self.read
        self.rows.extend(frame["sample_id"])


@dataclass
class Bench:
    """At most one engine is open at a time: a second one rarely fits into memory."""

    open: Callable[[ModelSettings], Teacher]
    settings: ModelSettings
    questions: tuple[str, ...]
    max_tokens: int
    fed: Fed | None = None
    """What came of many requests from an iterator, once they were asked."""
    _teacher: Teacher | None = None
    _tokenizer: ChatTokenizer | None = None
    _samples: dict[float, pl.DataFrame] = field(default_factory=dict)

    @property
    def teacher(self) -> Teacher:
        """The engine; it is started when it is first asked for."""
        if self._teacher is None:
            self._teacher = self.open(self.settings)
        return self._teacher

    @property
    def info(self) -> ModelInfo:
        """Of the engine."""
        return self.teacher.info

    @property
    def tokenizer(self) -> ChatTokenizer:
        """The model's, as dasd loads it."""
        if self._tokenizer is None:
            self._tokenizer = ChatTokenizer.load(self.settings)
        return self._tokenizer

    def close(self) -> None:
        """Close the engine, if one is open."""
        teacher, self._teacher = self._teacher, None
        if teacher is not None:
            teacher.close()

    def spec(self, temperature: float = 1.0, max_tokens: int | None = None) -> SamplingSpec:
        """How to sample. The nucleus is the whole distribution."""
        return SamplingSpec("suite", temperature, 1.0, max_tokens or self.max_tokens)

    def requests(self, candidates: int = CANDIDATES, *, max_tokens: int | None = None) -> list[SampleRequest]:
        """Every question so many times, each request with a seed of its own."""
        return [
            SampleRequest(
                f"sample-{q}-{c}", f"question-{q}", (Message("user", text),), c, 1000 * q + c + 1, max_tokens
            )
            for q, text in enumerate(self.questions)
            for c in range(candidates)
        ]

    def sample(self, requests: Sequence[SampleRequest], spec: SamplingSpec) -> pl.DataFrame:
        """SAMPLES rows in the order of the requests."""
        return gathered(self.teacher.sample(requests, spec), [r.sample_id for r in requests])

    def samples(self, temperature: float = 1.0) -> pl.DataFrame:
        """The rows of ``requests()`` at a temperature, drawn once."""
        if temperature not in self._samples:
            self._samples[temperature] = self.sample(self.requests(), self.spec(temperature))
        return self._samples[temperature]

    def question(self, number: int) -> tuple[Message, ...]:
        """A conversation that asks one of the questions, round and round."""
        return (Message("user", self.questions[number % len(self.questions)]),)

    def messages(self, sample_id: str) -> tuple[Message, ...]:
        """The conversation of one of ``requests()``."""
        return self.question(int(sample_id.split("-")[1]))


def gathered(frames: Iterable[pl.DataFrame], order: Sequence[str]) -> pl.DataFrame:
    """All rows in one frame, by ``sample_id`` in this order."""
    rows = list(frames)
    if not rows:
        return SAMPLES.empty()
    wanted = pl.DataFrame({"sample_id": list(order)}, schema={"sample_id": pl.String})
    return wanted.join(pl.concat(rows), on="sample_id", how="left", maintain_order="left")


def apart(
    got: Sequence[float] | npt.NDArray[np.float64], wanted: Sequence[float] | npt.NDArray[np.float64]
) -> float:
    """Largest difference of log-probabilities in nats; where one is below -1, the share of it."""
    wanted_t = np.asarray(wanted, dtype=np.float64)
    differences = np.abs(np.asarray(got, dtype=np.float64) - wanted_t) / np.maximum(1.0, np.abs(wanted_t))
    return float(differences.max(initial=0.0))


def check_refused(
    start: Callable[[OnRefused], Iterable[pl.DataFrame]], refused: str, served: Sequence[str]
) -> None:
    """Fails unless ``refused`` alone is refused, with a reason, and each of ``served`` has a row."""
    told: dict[str, str] = {}
    try:
        rows = [sample_id for frame in start(told.__setitem__) for sample_id in frame["sample_id"]]
    except DasdError as error:
        raise AssertionError(
            f"one request that can't be served ended the work ({type(error).__name__}: {error}); wanted "
            f"spec.on_refused({refused!r}, reason), and rows for the others"
        ) from error
    assert list(told) == [refused], f"on_refused was told of {list(told)}; wanted {[refused]}"
    assert told[refused].strip(), "on_refused got no reason"
    assert sorted(rows) == sorted(served), f"rows for {sorted(rows)}; wanted {sorted(served)}"


def tiles(text: str, ends: Sequence[int]) -> str:
    """What is wrong with the byte offsets ``ends`` of a text's tokens; "" where they tile it."""
    size = len(text.encode())
    if list(ends) != sorted(ends):
        return f"token_ends go back: {list(ends)}"
    if (ends[-1] if ends else 0) != size:
        return f"the last of token_ends is {ends[-1] if ends else None}; wanted {size}, the text's length in bytes"
    return ""
