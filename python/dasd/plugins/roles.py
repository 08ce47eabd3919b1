"""The roles that a component can have, as protocols, and what a trainer gets and returns.

The built-in components and those of plugins implement the same protocols; ``dasd.api`` hands them on to plugins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import pluggy
import polars as pl

from dasd.base.records import (
    ContinueRequest,
    EvalSpec,
    Grade,
    ModelInfo,
    OnPolicyLoss,
    QuestionRows,
    SampleRequest,
    SamplingSpec,
    ScoreRequest,
    ScoringSpec,
)
from dasd.plugins.exports import Exported, ExportRun
from dasd.plugins.hosts import Hosts, HostsWanted
from dasd.recipe.model_settings import ModelSettings
from dasd.recipe.question_settings import QuestionSource
from dasd.recipe.training_settings import TrainerSettings


@dataclass(frozen=True, slots=True)
class OwnFigures:
    """Means over the tokens of a step that the student itself sampled, before the step changes it; nats a token."""

    kl_from_start: float
    """Estimate of KL( student of the round's start || student )."""
    entropy: float
    """Of the student."""
    reverse_kl: float
    """Estimate of KL( student of the round's start || teacher )."""
    forward_kl: float | None = None
    """KL( teacher || student ) at these tokens, over what the teacher tells apart; None in the sampled form."""


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """One optimiser step that has finished."""

    step: int
    steps: int
    epoch: float
    loss: float
    """Mean over the trained tokens of the step, in nats: cross-entropy, or the on-policy loss."""
    learning_rate: float
    grad_norm: float
    tokens: int
    """Tokens seen so far in this training, padding not counted."""
    seconds: float
    own: OwnFigures | None = None
    """Of an on-policy training."""


@dataclass(frozen=True, slots=True)
class TrainSpec:
    """One training. ``settings`` is the trainer's own validated section of the recipe."""

    stage: str
    model: Path
    """Directory of the weights to start from; of a named model the snapshot of its revision."""
    output: Path
    """Directory to leave the trained model in (written whole or not at all)."""
    state: Path
    """Directory for the trainer's own state while it runs (exact resume)."""
    settings: TrainerSettings
    seed: int
    trust_remote_code: bool
    on_step: Callable[[TrainProgress], None]
    on_policy: OnPolicyLoss | None = None
    """The loss on ON_POLICY_TRAIN rows; None: rows are TRAIN, their loss cross-entropy."""
    part: int = 1
    """Which of ``parts`` equal stretches of one schedule of the learning rate this training is, counted from 1."""
    parts: int = 1
    hosts: Callable[[HostsWanted], Hosts] | None = None
    """Holds hosts of the run's executor for a trainer of several processes; None where it starts none elsewhere."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A trained model: a Hugging Face directory that ``from_pretrained`` loads, and what training did."""

    path: Path
    steps: int
    tokens: int
    first_loss: float
    last_loss: float
    seconds: float


hookimpl = pluggy.HookimplMarker("dasd")
"""Marks a function of a plugin as the implementation of the hook of its name."""


@runtime_checkable
class Teacher(Protocol):
    """Inference role: one model behind one engine. The student answers and scores through it too.

    Every method yields frames as they finish, in any order and grouping; each request gives exactly one row, or is
    refused: ``spec.on_refused(sample_id, reason)`` for what can't be served while others can (a prompt without room
    in the context, a server's error about this one request), and the others go on. An engine that fails altogether
    raises BackendError.

    A teacher that takes lists gets the requests of one unit of work at a time, and waits for the slowest of each. One
    whose ``info.concurrency`` says how many requests it works on at a time is kept full: it gets an iterable of any
    length, and reads the next request when it has room for it, in the thread that takes its frames.
    """

    @property
    def info(self) -> ModelInfo:
        """Which model, tokenizer, engine and version this is."""
        ...

    def sample(self, requests: Sequence[SampleRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        """Draw one response a request; yields SAMPLES rows.

        The response's tokens include the end token when ``finish_reason`` is "stop" (it covers no bytes);
        ``logprobs`` are raw: natural logarithms of the sampled tokens' probabilities at temperature 1.
        """
        ...

    def continue_(self, requests: Sequence[ContinueRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        """Go on from each prefix; yields SAMPLES rows of the whole response (prefix and continuation).

        ``text`` starts with the prefix byte for byte, ``prefix_end`` is its length in bytes; tokens of the
        prefix come first with their own log-probabilities under this model.
        """
        ...

    def score(self, requests: Sequence[ScoreRequest], spec: ScoringSpec) -> Iterator[pl.DataFrame]:
        """Log-probability of every token of each text under this model; yields SCORES rows.

        With ``spec.top`` above 0, which only teachers registered with ``gives_top`` are asked for, it yields TOP_SCORES
        rows: for each token of the text, the end token included, the K likeliest tokens at its position and their
        log-probabilities (natural, temperature 1), likeliest first, of equal ones the lower id first as far as the
        engine lets one. K is the lower of ``spec.top`` and the size of the model's vocabulary. What came before a
        position is the text's own tokens, whatever was likeliest there.
        """
        ...

    def close(self) -> None:
        """Release memory and processes. Called once; the engine isn't used afterwards."""
        ...


class OpenedTeacher(Teacher, Protocol):
    """A teacher as the host hands it out: it takes any iterable, and makes a list of it where the engine wants one."""

    def sample(self, requests: Iterable[SampleRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        """As ``Teacher.sample``."""
        ...

    def continue_(self, requests: Iterable[ContinueRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        """As ``Teacher.continue_``."""
        ...

    def score(self, requests: Iterable[ScoreRequest], spec: ScoringSpec) -> Iterator[pl.DataFrame]:
        """As ``Teacher.score``."""
        ...


@runtime_checkable
class Executor(Protocol):
    """Where engines run: on this machine, or on several as if they were one engine."""

    def open(self, settings: ModelSettings, start: Callable[[ModelSettings], OpenedTeacher]) -> Teacher:
        """The engine of these settings.

        ``start(settings)`` starts its backend in the process that calls it; pickled, it does so in another one, with
        the same plugins. Several that make one engine have to be of one kind: rows say which model, engine and version
        made them.
        Called for one engine at a time: the former one is closed before. Raises BackendError where none can be started.
        """
        ...

    def close(self) -> None:
        """End what was started for engines. Called after they are closed; ``open`` may follow."""
        ...


@runtime_checkable
class LaunchingExecutor(Executor, Protocol):
    """An executor that starts processes of a training too (registered with ``launches``)."""

    def hosts(self, wanted: HostsWanted) -> Hosts:
        """Hold hosts for a training; whoever asks closes them. No engine is open meanwhile.

        Raises BackendError where they can't be had, InputError that names a host which doesn't see a shared file.
        """
        ...


@runtime_checkable
class Trainer(Protocol):
    """Training role: full fine-tuning of a model on TRAIN rows."""

    def train(self, shards: Sequence[Path], spec: TrainSpec, resume: bool) -> Checkpoint:
        """Train on the TRAIN rows in the Parquet files ``shards``; leave a model directory in ``spec.output``.

        The rows have passed the host's pre-flight: prompts are masked, end tokens trained, lengths kept.
        With ``resume``, go on from the state in ``spec.state`` if there is one: same losses as without the
        interruption. Raises TrainingError on a loss that is not finite.
        """
        ...


@runtime_checkable
class Evaluator(Protocol):
    """Evaluation role: answers of a model to benchmark questions, each attempt kept."""

    def evaluate(self, model: Teacher, questions: pl.DataFrame, spec: EvalSpec) -> Iterator[pl.DataFrame]:
        """Yields EVAL rows: one a question and attempt. ``questions``: QUESTIONS rows.

        Of an engine that is kept full (``model.info.concurrency``) the questions are those of a whole benchmark, else
        those of a unit of work. What is yielded early survives a kill. Where several benchmarks or units are asked at
        a time, each has an evaluator and a thread of its own; ``model`` then takes its requests at once, as a list.

        An attempt that the engine refuses (``on_refused`` of the evaluator's own specs) has no row; it goes to
        ``spec.on_refused``.
        """
        ...


@runtime_checkable
class Selector(Protocol):
    """Ranks the candidates of each question."""

    def rank(self, candidates: pl.DataFrame, student: Teacher | None) -> pl.Series:
        """One Float64 a row, higher is better, NaN or null for never; ties go to the earlier row.

        ``candidates`` has the columns of CANDIDATES. ``student`` is the pre-distillation student where
        ``needs_student`` is true, else None.
        """
        ...

    @property
    def needs_student(self) -> bool:
        """Whether ``rank`` scores texts under the student itself."""
        ...


@runtime_checkable
class Filter(Protocol):
    """Judges responses."""

    def judge(self, responses: pl.DataFrame) -> pl.DataFrame:
        """One row a response, in order: ``kept`` (bool), ``reason`` (short slug, "" when kept), ``detail``.

        ``responses`` has the columns of SAMPLES, and ``student_token_ids`` (list u32, with the end token),
        ``prompt_tokens`` (u32, the student's), ``answer`` and ``verifier`` (the question's, nullable),
        ``correct`` (nullable bool; null unless the recipe filters by answer) and ``think_opened`` (bool:
        the teacher's prompt ends with an opened think tag, so the response begins behind it).
        """
        ...


@runtime_checkable
class Questions(Protocol):
    """A source of questions."""

    def load(self, source: QuestionSource, split: str, seed: int) -> QuestionRows | pl.DataFrame:
        """QUESTIONS rows of one split ("train" or "eval"), without the recipe's system prompt.

        A ``QuestionRows`` says besides which rows can't be used, where each question is from, and what was read; a
        frame alone is all of it for a source that has nothing of this to say.
        """
        ...


@runtime_checkable
class Verifier(Protocol):
    """Checks the answer in a response."""

    def grade(self, response: str, answer: str, argument: str) -> Grade:
        """``argument`` is what follows the first colon of the question's ``verifier`` ("" if none).

        An evaluator makes it of the question's ``VerifierSettings``.

        A verifier may have a method ``check(answer, argument)`` too, which raises InputError for those that it
        can't read: such questions are set aside before anything is sampled.
        """
        ...


@runtime_checkable
class Exporter(Protocol):
    """Writes what a run trains on in the format of another tool."""

    def export(self, run: ExportRun, directory: Path) -> Exported:
        """Write data files, and what else the tool wants, into ``directory``, which is there and empty.

        Rows come in frames (``ExportStage.frames``) and should leave in frames (``RowsFile``): a run needn't fit
        into memory. ``run.on_rows`` is told of each frame that is written. The host moves the directory into its
        place when this returns, so an exception leaves nothing behind.
        """
        ...
