"""What an exporter gets and returns: the trainings of a run with their rows, and what was written of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import polars as pl

from dasd.base.rows_file import FileFormat
from dasd.base.schemas import DRAW, QUESTIONS, SAMPLES, TRAIN, Schema
from dasd.recipe.model_settings import ModelSettings
from dasd.recipe.training_settings import TrainerSettings

__all__ = ["EXPORT", "ExportRun", "ExportStage", "Exported", "ExportedFile"]


EXPORT = Schema(
    "export",
    {
        "sample_id": pl.String,
        "question_id": pl.String,
        "messages": QUESTIONS.columns["messages"],  # the prompt: system, user, and earlier turns if any
        "response": pl.String,  # the whole response, with the opening think tag even where a prompt opens it
        "opening": pl.String,  # what of the response's beginning the teacher's prompt held, "" mostly
        "domain": pl.String,
        "answer": pl.String,
        "verifier": pl.String,
        "policy": pl.String,  # "off-policy", or "mixed-policy": the student began, the teacher went on
        "prefix_end": pl.UInt32,  # bytes of response that the student wrote, 0 for an off-policy one
        "prefix_masked": pl.Boolean,  # whether the recipe trains without them
        "weight": pl.Float32,  # of the row in the loss
        **{name: SAMPLES.columns[name] for name in (*DRAW, "logprobs_mode")},
    },
    frozenset({"answer", "verifier"}),
)
"""Columns of the rows that an exporter reads; ``ExportStage.frames`` adds those of tokens on demand."""

SAMPLED_TOKENS = {name: SAMPLES.columns[name] for name in ("token_ids", "logprobs")}
TRAINED_TOKENS = {
    "train_token_ids": TRAIN.columns["token_ids"],
    "loss_mask": TRAIN.columns["loss_mask"],
}


class _Read(Protocol):
    def __call__(self, *, sampled_tokens: bool, trained_tokens: bool) -> Iterator[pl.DataFrame]: ...


@dataclass(frozen=True, slots=True)
class ExportStage:
    """One training of the recipe and the rows that belong to it."""

    name: str
    """Its name in the recipe, e.g. ``low``."""
    number: int
    """Its place among the recipe's trainings, from 1."""
    kind: Literal["off-policy", "mixed-policy"]
    temperature: float
    trainer: TrainerSettings
    """The recipe's hyper-parameters of this training."""
    rows: int
    read: _Read
    """What ``frames`` calls."""

    def frames(self, *, sampled_tokens: bool = False, trained_tokens: bool = False) -> Iterator[pl.DataFrame]:
        """The rows in the order of training, at most 256 in a frame, with the columns of EXPORT.

        ``sampled_tokens`` adds ``token_ids`` (list u32) and ``logprobs`` (list f32 or null; natural
        logarithms), as the teacher sampled them, its end token included. ``trained_tokens`` adds
        ``train_token_ids`` (list u32: prompt and response by the student's tokenizer, end token included) and
        ``loss_mask`` (list u32: run lengths, masked, trained, masked, ...), as dasd itself trains them.
        """
        return self.read(sampled_tokens=sampled_tokens, trained_tokens=trained_tokens)


@dataclass(frozen=True, slots=True)
class ExportRun:
    """What is exported of a run."""

    name: str
    """The recipe's name."""
    seed: int
    system_prompt: str | None
    """The recipe's; rows carry it in their ``messages`` already."""
    structure: Literal["think", "any"]
    """Whether every response has reasoning between think tags (``filters.structure`` of the selecting recipe)."""
    teacher: ModelSettings
    student: ModelSettings
    teacher_opens_thinking: bool
    """The teacher's prompt ends with an opened think tag: sampled tokens begin behind the tag."""
    student_opening: Callable[[], str]
    """What the student's prompts end with from an opened think tag on, "" without one; needs its tokenizer, so
    InputError where that isn't here."""
    stages: tuple[ExportStage, ...]
    files: FileFormat | None
    """The kind of data files that was asked for; None: whatever suits the format."""
    on_rows: Callable[[int], None]
    """To be told of the number of rows that have just been written."""

    def student_opens_thinking(self) -> bool:
        """Whether the student's prompt ends with an opened think tag."""
        return bool(self.student_opening())


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """One file of data."""

    path: str
    """Relative to the export's directory."""
    stage: str
    rows: int


@dataclass(frozen=True, slots=True)
class Exported:
    """What an exporter wrote."""

    files: tuple[ExportedFile, ...]
    """The files of data; others, such as configurations, need no mention."""
    lost: tuple[str, ...] = ()
    """What of the training the format doesn't carry, a sentence each: people are told of it."""
    use: tuple[str, ...] = ()
    """Commands, or sentences, that say how to go on; given from within the export's directory."""
