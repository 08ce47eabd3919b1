"""Control records that pass between the pipeline and its components: frozen dataclasses, no dictionaries.

Rows of data travel as polars frames (``dasd.base.schemas``); these records say what to do with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import polars as pl
from pydantic import Field

from dasd.errors import BackendError

MessageRole = Literal["system", "user", "assistant"]
LogprobsMode = Literal["raw", "processed", "none"]
OnRefused = Callable[[str, str], None]
"""Told of a request that an engine can't serve while it serves others: its sample_id, and why."""


def raise_refused(sample_id: str, reason: str) -> None:
    """What happens where nobody sets refused requests aside: BackendError naming the sample."""
    raise BackendError(f"sample {sample_id}: {reason}")


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: MessageRole
    content: str


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """One response to draw. ``seed`` is this request's own, so the draw doesn't depend on its neighbours."""

    sample_id: str
    question_id: str
    messages: tuple[Message, ...]
    candidate: int
    seed: int
    max_tokens: int | None = None
    """Cap on the new tokens of this request; ``None``: the spec's."""


@dataclass(frozen=True, slots=True)
class ContinueRequest:
    """A response to go on with: ``prefix`` is the raw text of the response so far (may be empty)."""

    sample_id: str
    question_id: str
    messages: tuple[Message, ...]
    candidate: int
    seed: int
    prefix: str
    max_tokens: int | None = None
    """Cap on the new tokens of this request; ``None``: the spec's."""


@dataclass(frozen=True, slots=True)
class SampledTokens:
    """The tokens that a text was sampled as, its end token included; one byte offset in the text a token."""

    token_ids: Sequence[int]
    token_ends: Sequence[int]
    tokenizer_hash: str


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """A text to score under a model. ``ended``: whether the end token follows and is scored too.

    A model with the very tokenizer of ``sampled`` scores those tokens: sampling now and then writes a text in
    other tokens than the tokenizer would, and then both models' probabilities are of one and the same event.
    Every other model tokenises the text itself.
    """

    sample_id: str
    messages: tuple[Message, ...]
    text: str
    ended: bool
    sampled: SampledTokens | None = None


@dataclass(frozen=True, slots=True)
class SamplingSpec:
    """How to sample. ``max_tokens`` counts new tokens of the model that samples."""

    stage: str
    temperature: float
    top_p: float
    max_tokens: int
    on_refused: Annotated[OnRefused, Field(exclude=True)] = raise_refused
    """Called for each request that can't be served, between frames; it then has no row."""


@dataclass(frozen=True, slots=True)
class ScoringSpec:
    """How to score: at most ``token_budget`` tokens in one forward pass, long texts in chunks of it."""

    stage: str
    token_budget: int | None
    """None: as many as the engine chooses for its device."""
    on_refused: Annotated[OnRefused, Field(exclude=True)] = raise_refused
    """Called for each request that can't be served, between frames; it then has no row."""
    top: int = 0
    """Likeliest tokens that are wanted at each position, of a teacher that ``gives_top``; at most its vocabulary."""


@dataclass(frozen=True, slots=True)
class OnPolicyLoss:
    """What is minimised on the student's own tokens (docs/method.md has the formulas and what is neglected)."""

    kind: Literal["reverse-kl", "forward-kl", "sampled-reverse-kl"]
    """The first two need the teacher's likeliest tokens at each position, the third the sampled token's alone."""
    clip: float = 0.2
    """Of the sampled form: the importance weight of a token counts from 1 - clip to 1 + clip."""
    max_kl: float = 0.5
    """Stop where a step's tokens are further than this from the student that sampled them, in nats a token."""
    least_entropy: float = 0.1
    """Stop where a step's mean entropy is less than this share of the first step's."""


@dataclass(frozen=True, slots=True)
class EngineSizes:
    """How much an engine takes at a time. Changes its speed and memory, so it is in no fingerprint."""

    device: str
    """Where it runs, with what is free there, e.g. ``cuda:0 with 71 GiB free``."""
    token_budget: int
    batch_size: int
    """Responses decoded together, at most."""
    chosen: tuple[Literal["token_budget", "batch_size"], ...]
    """Those that the engine chose, as the recipe says nothing."""
    fitted: bool
    """Whether batches are made smaller where the responses could need more memory than there is."""

    def __str__(self) -> str:
        """What was chosen, in words; "" for nothing."""
        parts = []
        if "token_budget" in self.chosen:
            parts.append(f"token_budget {self.token_budget:,}")
        if "batch_size" in self.chosen:
            parts.append(f"batch_size {'what fits, at most ' * self.fitted}{self.batch_size}")
        return f"on {self.device}: {', '.join(parts)}" if parts else ""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What an engine runs. Recorded with every row and part of the stage fingerprints."""

    model: str
    model_revision: str
    """Content fingerprint of a local directory, or the revision of a named model."""
    tokenizer_hash: str
    engine: str
    engine_version: str
    logprobs_mode: LogprobsMode
    context_length: int
    sizes: EngineSizes | None = None
    """Of an engine that says how much it takes at a time."""
    continues: bool = True
    """Whether it goes on from a given text. Of a server that is known once it is asked."""
    concurrency: int | None = None
    """Requests that it works on at a time, of an engine that reads them from an iterable as it has room; None: it takes
    lists."""
    lists: int = 1
    """Lists that it works on at a time, of an engine that takes lists. Above 1 its methods are called in so many
    threads, each with a list of its own; ``close`` may come while they are under way, and ends them with BackendError.
    May change while it is open."""


ADAPTER = "adapter"
"""Directory in a checkpoint with the adapter that was merged into it, as ``PeftModel.from_pretrained`` reads it."""


@dataclass(frozen=True, slots=True)
class EvalSpec:
    """How to evaluate: ``attempts`` answers a question, sampled with these settings."""

    benchmark: str
    attempts: int
    temperature: float
    top_p: float
    max_tokens: int
    seed: int
    batch_size: int
    on_rows: Callable[[int], None]
    """Called with the number of rows that have just finished."""
    on_failure: Callable[[str], None] = lambda _: None
    """Called with the ``failure`` of every grade that has one."""
    on_refused: Callable[[str, int, str], None] = lambda question_id, attempt, reason: raise_refused(
        f"of question {question_id}, attempt {attempt}", reason
    )
    """Called with question_id, attempt and reason for an answer that the engine refused; it then has no row."""
    done: frozenset[tuple[str, int]] = frozenset()
    """(question_id, attempt) of the answers that an earlier, interrupted start has or saw refused: not asked again."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a filter says of one sample."""

    kept: bool
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Grade:
    """What a verifier says of one response: right or wrong, and the answer that it found in it."""

    correct: bool
    extracted: str | None
    failure: str | None = None
    """Why the answer could not be held against the expected one, e.g. ``timed out``; it then isn't right."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row of a source of questions that was set aside."""

    row: int
    """Its number from 1: the line of a JSONL file, the row of a table."""
    reason: str


@dataclass(frozen=True, slots=True)
class SetAside:
    """Rows of one file that can't be used, as a source of questions leaves them out."""

    path: Path | str
    """The file, or what else the rows came from."""
    rows: tuple[BadRow, ...]

    def __str__(self) -> str:
        """How many there are, and what is wrong with the first."""
        first = self.rows[0]
        return f"{self.path}: {len(self.rows)} rows set aside, the first is row {first.row} ({first.reason})"


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """A file that a source of questions read: what it takes to read the same one again."""

    name: str
    """Its path in the data set, or its own name."""
    sha256: str
    rows: int
    repository: str = ""
    """The hub's data set or the package that it is from; "" for a file of the user's."""
    revision: str = ""
    """Commit of the data set, version of the package."""


@dataclass(frozen=True, slots=True)
class LoadedQuestions:
    """What a source of questions loaded, for the run's ``question-sources.jsonl``."""

    source: str
    files: tuple[LoadedFile, ...]
    selection: str
    """How the questions were chosen or changed, e.g. a window of dates or a shuffle's seed; "" for not at all."""
    questions: tuple[tuple[str, str], ...]
    """(question_id, what has to be known of it, e.g. its date), in order."""


@dataclass(frozen=True, slots=True, eq=False)
class QuestionRows:
    """What a source of questions gives for one split: its rows, and all that has to be known of them."""

    rows: pl.DataFrame
    """QUESTIONS rows."""
    set_aside: tuple[SetAside, ...] = ()
    """Rows that can't be used, by file. The user is told, and each is listed in ``set-aside-questions.jsonl``."""
    places: Mapping[str, str] = field(default_factory=dict)
    """question_id -> where it is from, for messages, e.g. ``mine.jsonl, row 41``; those that have none are left out."""
    loaded: LoadedQuestions | None = None
    """What was read, for ``question-sources.jsonl``; None where there is nothing to say."""


class RowsSetAside(UserWarning):
    """Warning that some rows of a file can't be used; carries them."""

    def __init__(self, path: Path | str, rows: Sequence[BadRow]) -> None:
        """``path``: the file, or what else the rows came from; ``rows``: at least one."""
        self.path = path
        self.rows = tuple(rows)
        super().__init__(str(SetAside(path, self.rows)))
