"""A recipe that evaluates a model and trains nothing, and which of the three kinds a recipe's data is."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from dasd.recipe.data_recipe import DataRecipe
from dasd.recipe.question_settings import QuestionSource, QuestionsSettings
from dasd.recipe.settings import RecipeSettings
from dasd.recipe.stage_settings import TrainingStage

__all__ = ["EvaluationQuestions", "EvaluationRecipe", "recipe_model"]


class EvaluationQuestions(QuestionsSettings):
    """Questions of a recipe that trains nothing."""

    train: tuple[QuestionSource, ...] = Field((), strict=False, max_length=0, description="None.")
    eval: tuple[QuestionSource, ...] = Field(
        strict=False, min_length=1, description="Sources of the evaluation questions."
    )


class EvaluationRecipe(RecipeSettings):
    """A recipe that evaluates the student as it is: evaluation questions, no training questions, no stages.

    No teacher is asked; where the recipe names none, the student's own settings stand in its place.
    """

    questions: EvaluationQuestions = Field(description="Questions to evaluate on.")
    stages: tuple[TrainingStage, ...] = Field((), strict=False, max_length=0, description="None.")

    @model_validator(mode="before")
    @classmethod
    def _no_teacher(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("student"), dict):
            return data
        teacher = data.get("teacher", {})
        if not isinstance(teacher, dict) or "model" in teacher:
            return data
        # A plugin that the command names has put its backend there.
        return {**data, "teacher": {**data["student"], **teacher}}


def recipe_model(data: Any) -> type[RecipeSettings]:
    """What a recipe's raw data is validated as.

    ``EvaluationRecipe`` where it has evaluation questions, and neither training questions nor stages;
    ``DataRecipe`` where it has ``data``.
    """
    if isinstance(data, dict) and data.get("data") is not None:
        return DataRecipe
    questions = data.get("questions") if isinstance(data, dict) else None
    if isinstance(questions, dict) and questions.get("eval"):
        return RecipeSettings if questions.get("train") or data.get("stages") else EvaluationRecipe
    return RecipeSettings
