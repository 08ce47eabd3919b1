"""Section ``evaluation``: what is measured before training and after every stage."""

from __future__ import annotations

from pydantic import Field, JsonValue

from dasd.recipe.section import Section

__all__ = ["EvaluationSettings"]


class EvaluationSettings(Section):
    """What is measured before training and after every stage."""

    evaluator: str = Field(
        "verifier", description="Evaluator, by its registered name; a benchmark may need another."
    )
    attempts: int = Field(
        4, ge=1, description="Answers sampled a question (k of avg@k), where no benchmark says otherwise."
    )
    temperature: float = Field(1.0, ge=0, le=5, description="Sampling temperature of the student.")
    top_p: float = Field(1.0, gt=0, le=1, description="Nucleus of the student.")
    max_tokens: int = Field(
        32768,
        ge=1,
        description="Cap on the new tokens of an answer (student's tokens), where no benchmark says otherwise.",
    )
    heldout: int = Field(
        200,
        ge=0,
        description="Evaluation questions that the teacher answers once at temperature 1, for the "
        "sequence-level KL; 0: no KL.",
    )
    options: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="Options of `evaluator`, checked by it. An evaluator that a benchmark brings itself has them too "
        "where it is the one named here.",
    )
