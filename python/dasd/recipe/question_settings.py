"""Sections ``questions`` and ``data``: where questions, and responses that exist already, come from."""

from __future__ import annotations

from typing import Any

from pydantic import Field, JsonValue, model_validator

from dasd.recipe.section import LONGEST_NAME, Section

__all__ = ["DataSettings", "QuestionSource", "QuestionsSettings"]


class QuestionSource(Section):
    """Where questions come from: a file of yours, a procedural set, or the bundled miniature task."""

    source: str = Field(description="`file`, `reasoning-gym`, `miniature`, or a plugin's source.")
    count: int | None = Field(
        None, ge=1, description="Take at most this many; all when absent (procedural: 500)."
    )
    domain: str | None = Field(None, description="Domain written on questions that carry none.")
    name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        max_length=LONGEST_NAME,
        description="Evaluation: name of the benchmark in tables; when absent the source's own (`file`: the "
        "file's name, `reasoning-gym`: the set's).",
    )
    attempts: int | None = Field(
        None,
        ge=1,
        description="Evaluation: answers sampled a question; when absent the benchmark's own number, if its "
        "plugin says one, else `evaluation.attempts`.",
    )
    max_tokens: int | None = Field(
        None,
        ge=1,
        description="Evaluation: cap on the new tokens of an answer; when absent the benchmark's own, if its "
        "plugin says one, else `evaluation.max_tokens`.",
    )
    options: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="The source's own options: `path` and column names for `file`, `dataset` for `reasoning-gym`.",
    )


class QuestionsSettings(Section):
    """What the teacher is asked, and what the student is evaluated on."""

    system_prompt: str | None = Field(
        "You are a helpful assistant.",
        description="Put before every conversation that has no system message of its own; null for none.",
    )
    train: tuple[QuestionSource, ...] = Field(
        strict=False, min_length=1, description="Sources of the training questions."
    )
    eval: tuple[QuestionSource, ...] = Field(
        (), strict=False, description="Sources of the evaluation questions."
    )


class DataSettings(Section):
    """Another run whose selected responses are trained on, so that nothing is sampled, filtered or scored.

    `data: RUN` is short for `data: {run: RUN}`. Training questions come with the responses; those of
    `questions.eval` are read as usual, and the teacher's held-out responses to them are the other run's. What is about
    sampling, filters, duplicate responses and selection is the other run's affair and changes nothing here; a stage's
    `total` still bounds what is taken.
    """

    run: str = Field(min_length=1, description="Directory of the other run; nothing is written there.")
    stages: dict[str, str] = Field(
        default_factory=dict,
        description="The other run's name of a training stage by this recipe's, where they differ.",
    )

    @model_validator(mode="before")
    @classmethod
    def _run_alone(cls, data: Any) -> Any:
        return {"run": data} if isinstance(data, str) else data

    def stage(self, name: str) -> str:
        """The other run's name of training stage ``name``."""
        return self.stages.get(name, name)
