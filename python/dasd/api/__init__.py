"""All that a plugin may import. Stable: names here are only ever added.

A plugin is a module or object behind an entry point of the group ``dasd.plugins`` that implements hooks of
``dasd.hooks`` with the ``hookimpl`` marker from here and registers components (name, factory) in
``dasd_register(registry)``. Heavy imports belong inside the factories.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import pluggy
import polars as pl

from dasd.chat import ChatTokenizer
from dasd.engine_rows import EngineRows, Generated, Prompted, Text
from dasd.errors import (
    BackendError,
    DasdError,
    InputError,
    NotHereError,
    PluginError,
    RecipeError,
    SchemaError,
    TrainingError,
)
from dasd.export_records import EXPORT, Exported, ExportedFile, ExportRun, ExportStage
from dasd.models import context_length, model_fingerprint, resolve_model
from dasd.reading import behind_tag, prompt_opening
from dasd.records import (
    BadRow,
    Checkpoint,
    ContinueRequest,
    EngineSizes,
    EvalSpec,
    Grade,
    LoadedFile,
    LoadedQuestions,
    Message,
    ModelInfo,
    OnRefused,
    RowsSetAside,
    SampledTokens,
    SampleRequest,
    SamplingSpec,
    ScoreRequest,
    ScoringSpec,
    TrainProgress,
    TrainSpec,
)
from dasd.rows_file import RowsFile
from dasd.schemas import EVAL, QUESTIONS, SAMPLES, SCORES, TRAIN, VERDICTS, Schema
from dasd.settings import (
    CPU_BATCH_SIZE,
    CPU_TOKEN_BUDGET,
    FilterSettings,
    ModelSettings,
    QuestionSource,
    SelectSettings,
    TrainerSettings,
)
from dasd.settings_verifier import VerifierSettings

hookimpl = pluggy.HookimplMarker("dasd")
"""Marks a function of a plugin as the implementation of the hook of its name."""


@runtime_checkable
class Teacher(Protocol):
    """Inference role: one model behind one engine. The student answers and scores through it too.

    Every method yields frames as they finish, in any order and grouping; each request gives exactly one row, or is
    refused: ``spec.on_refused(sample_id, reason)`` for what can't be served while others can (a prompt without room
    in the context, a server's error about this one request), and the others go on. An engine that fails altogether
    raises BackendError.
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
        """Log-probability of every token of each text under this model; yields SCORES rows."""
        ...

    def close(self) -> None:
        """Release memory and processes. Called once; the engine isn't used afterwards."""
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


CANDIDATES = Schema(
    "candidates",
    {
        "sample_id": pl.String,
        "question_id": pl.String,
        "candidate": pl.UInt32,
        "text": pl.String,
        "teacher_tokens": pl.UInt32,  # as the teacher sampled them, what `dasd inspect` shows
        "student_tokens": pl.UInt32,  # of the same text by the student's tokenizer
        "sentences": pl.UInt32,
        "teacher": pl.UInt32,  # number of Teacher sentences at the recipe's beta
        "student": pl.UInt32,  # number of Student sentences
        "common": pl.UInt32,  # number of the others
        "mean_delta": pl.Float32,  # mean over sentences of p_teacher - p_student
        "teacher_mean_logprob": pl.Float32,  # nats a token, over teacher_tokens; NaN where unknown
        "student_mean_logprob": pl.Float32,  # nats a token, over student_tokens, before any training
    },
    frozenset({"mean_delta"}),
)
"""A question's candidates as a selector sees them, a row a response. Both numbers of tokens count the end token. A sum
of log-probabilities is a mean times the same model's tokens; a mean over the other's tokens means nothing."""


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

    def load(self, source: QuestionSource, split: str, seed: int) -> pl.DataFrame:
        """QUESTIONS rows of one split ("train" or "eval"), without the recipe's system prompt.

        A row that can't be used is left out and told of: ``warnings.warn(RowsSetAside(path, bad_rows))``.
        A source may have an attribute ``loaded``, a ``LoadedQuestions`` (or None) that says what the last
        ``load`` read; the run keeps it in ``question-sources.jsonl``. It may have an attribute ``places``, where
        each question of the last ``load`` is from, for messages: ``{question_id: "mine.jsonl, row 41"}``.
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


__all__ = [
    "CANDIDATES",
    "CPU_BATCH_SIZE",
    "CPU_TOKEN_BUDGET",
    "EVAL",
    "EXPORT",
    "QUESTIONS",
    "SAMPLES",
    "SCORES",
    "TRAIN",
    "VERDICTS",
    "BackendError",
    "BadRow",
    "ChatTokenizer",
    "Checkpoint",
    "ContinueRequest",
    "DasdError",
    "EngineRows",
    "EngineSizes",
    "EvalSpec",
    "Evaluator",
    "ExportRun",
    "ExportStage",
    "Exported",
    "ExportedFile",
    "Exporter",
    "Filter",
    "FilterSettings",
    "Generated",
    "Grade",
    "InputError",
    "LoadedFile",
    "LoadedQuestions",
    "Message",
    "ModelInfo",
    "ModelSettings",
    "NotHereError",
    "OnRefused",
    "PluginError",
    "Prompted",
    "QuestionSource",
    "Questions",
    "RecipeError",
    "RowsFile",
    "RowsSetAside",
    "SampleRequest",
    "SampledTokens",
    "SamplingSpec",
    "Schema",
    "SchemaError",
    "ScoreRequest",
    "ScoringSpec",
    "SelectSettings",
    "Selector",
    "Teacher",
    "Text",
    "TrainProgress",
    "TrainSpec",
    "Trainer",
    "TrainerSettings",
    "TrainingError",
    "Verifier",
    "VerifierSettings",
    "behind_tag",
    "context_length",
    "hookimpl",
    "model_fingerprint",
    "prompt_opening",
    "resolve_model",
]
