"""A recipe that trains on the responses that another run selected."""

from __future__ import annotations

from pydantic import Field, field_validator

from dasd.recipe.question_settings import DataSettings, QuestionSource, QuestionsSettings
from dasd.recipe.settings import RecipeSettings

__all__ = ["DataQuestions", "DataRecipe"]


class DataQuestions(QuestionsSettings):
    """Questions of a recipe whose training questions come with their responses."""

    train: tuple[QuestionSource, ...] = Field((), strict=False, description="None: they come with `data`.")

    @field_validator("train")
    @classmethod
    def _from_the_run(cls, train: tuple[QuestionSource, ...]) -> tuple[QuestionSource, ...]:
        if train:
            raise ValueError("with `data` the training questions come from that run; take `train` out")
        return train


class DataRecipe(RecipeSettings):
    """A recipe with `data`: other models, trainings and evaluation questions on another run's responses."""

    questions: DataQuestions = Field(default_factory=DataQuestions, description="Questions to evaluate on.")
    data: DataSettings = Field(description="The run whose responses are trained on.")
