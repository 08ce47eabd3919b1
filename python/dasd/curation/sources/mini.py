"""Questions of the bundled miniature task."""

from __future__ import annotations

from pydantic import Field

from dasd.base.records import Message, QuestionRows
from dasd.curation.sources.rows import question_row, questions_frame
from dasd.errors import InputError
from dasd.models.miniature import world
from dasd.plugins.components import Options
from dasd.recipe.question_settings import QuestionSource

__all__ = ["MiniatureOptions", "MiniatureQuestions"]

DEFAULT_COUNT = 500


class MiniatureOptions(Options):
    """Options of the source ``miniature``."""

    seed: int | None = Field(None, ge=0, description="Seed of the questions; the recipe's when absent.")


class MiniatureQuestions:
    """Sums of six one-digit numbers; the two splits share no question."""

    def load(self, source: QuestionSource, split: str, seed: int) -> QuestionRows:
        """``source.count`` (500 when absent) QUESTIONS rows of ``split``."""
        options = MiniatureOptions.model_validate(source.options)
        if split not in ("train", "eval"):
            raise InputError(f"questions from 'miniature': wanted split 'train' or 'eval', got {split!r}")
        drawn = world.questions(
            DEFAULT_COUNT if source.count is None else source.count,
            seed if options.seed is None else options.seed,
            "eval" if split == "eval" else "train",
        )
        frame = questions_frame(
            [
                question_row(
                    [Message("user", question.question)],
                    identifier=None,
                    domain=source.domain or "arithmetic",
                    answer=question.answer,
                    verifier="miniature",
                    source="miniature",
                    split=split,
                )
                for question in drawn
            ]
        )
        return QuestionRows(frame)
