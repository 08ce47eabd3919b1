"""Section ``stages``: the trainings, each with the responses that it is on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue, ValidationInfo, field_validator

from dasd.recipe.question_settings import QuestionSource
from dasd.recipe.section import LONGEST_NAME, Section

__all__ = ["MixedPolicyStage", "OffPolicyStage", "OnPolicyStage", "TrainingStage"]


class OffPolicyStage(Section):
    """One training on responses that the teacher sampled at one temperature."""

    kind: Literal["off-policy"] = Field("off-policy", description="Teacher responses.")
    name: str = Field(
        pattern=r"^[a-z][a-z0-9_]*$", max_length=LONGEST_NAME, description="Name of the stage, e.g. `low`."
    )
    temperature: float = Field(ge=0, le=5, description="Sampling temperature of the teacher.")
    samples: tuple[str, ...] = Field(
        (),
        strict=False,
        description="Parquet or JSON lines files that hold the teacher's responses, one path or a list; the "
        "teacher is not sampled then.",
    )
    sources: tuple[QuestionSource, ...] = Field(
        (),
        strict=False,
        description="Sources of the questions that this stage asks, in place of `questions.train`. A question that "
        "another stage asks too is the same question.",
    )
    candidates: int | None = Field(
        None, ge=1, description="Responses sampled a question; `sampling.candidates` when absent."
    )
    max_tokens: int | None = Field(
        None,
        ge=1,
        description="Cap on the new tokens of a response; `sampling.max_tokens` when absent.",
    )
    per_question: int | None = Field(
        None, ge=1, description="Responses kept a question; `select.per_question` when absent."
    )
    total: int | None = Field(
        None,
        ge=1,
        description="Responses trained on, at most: of more that were selected, those that the seed draws; all "
        "when absent.",
    )
    shares: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict,
        description="Domain -> its part of `total`, in any unit (`{math: 3, code: 1}`: three quarters and one). A "
        "domain that isn't named isn't asked; one that has fewer responses than its part is told of.",
    )
    spare: float = Field(
        0.25,
        ge=0,
        description="With `total`: questions asked beyond those that it takes where each yields `per_question` "
        "responses, as a share of them, since filters lose some. The seed draws which; the others aren't sampled.",
    )
    response_tokens: float | None = Field(
        None,
        gt=0,
        description="Mean length of the responses that `dasd plan` counts with where none is measured, in the "
        "teacher's tokens. The run doesn't look at it.",
    )
    trainer: dict[str, JsonValue] = Field(
        default_factory=dict, description="Keys of section `trainer` to change for this stage."
    )

    @field_validator("samples", mode="before")
    @classmethod
    def _one_path_is_a_list(cls, samples: object) -> object:
        return (samples,) if isinstance(samples, str) else samples

    @field_validator("shares")
    @classmethod
    def _parts_of_a_total(cls, shares: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        if shares and info.data.get("total", 0) is None:
            raise ValueError("are parts of `total`: set it too")
        return shares


class MixedPolicyStage(Section):
    """One training on student answers that the teacher takes over where they drift."""

    kind: Literal["mixed-policy"] = Field(description="Student starts, teacher continues.")
    name: str = Field(
        pattern=r"^[a-z][a-z0-9_]*$", max_length=LONGEST_NAME, description="Name of the stage, e.g. `mixed`."
    )
    temperature: float = Field(1.0, ge=0, le=5, description="Sampling temperature of both models.")
    questions: int | None = Field(
        None, ge=1, description="Training questions that the student answers; all if absent."
    )
    cap: float = Field(
        1.5, gt=0, description="Cap on the student's answer, times the teacher's response in tokens."
    )
    cut_from: float = Field(
        0.5, ge=0, lt=1, description="Cut at a random place beyond this share of the answer."
    )
    balance: float = Field(
        2.0,
        ge=0,
        description="Off-policy responses added for each mixed one (the report's ablation: 20K to 7.7K, 2.6).",
    )
    train_prefix: bool = Field(True, description="Loss on the student's part too; masking it hurts.")
    trainer: dict[str, JsonValue] = Field(
        default_factory=dict, description="Keys of section `trainer` to change for this stage."
    )


class OnPolicyStage(Section):
    """Rounds in which the student answers alone, the teacher scores each of its tokens, and the student is trained."""

    kind: Literal["on-policy"] = Field(description="The student's own answers, scored by the teacher.")
    name: str = Field(
        pattern=r"^[a-z][a-z0-9_]*$", max_length=LONGEST_NAME, description="Name of the stage, e.g. `own`."
    )
    rounds: int = Field(8, ge=1, le=1000, description="Rounds; in each the student of now answers.")
    questions: int | None = Field(
        None,
        ge=1,
        description="Training questions of a round, the next ones in an order that the seed draws; all if absent.",
    )
    candidates: int = Field(1, ge=1, description="Answers of the student to each of them.")
    temperature: float = Field(
        1.0, gt=0, le=5, description="Sampling temperature of the student; `sampled-reverse-kl` wants 1."
    )
    max_tokens: int | None = Field(
        None,
        ge=1,
        description="Cap on the new tokens of an answer, which is trained on as far as it came; "
        "`sampling.max_tokens` when absent.",
    )
    loss: Literal["reverse-kl", "forward-kl", "sampled-reverse-kl"] = Field(
        "reverse-kl",
        description="What training minimises at each of the student's tokens: KL(student || teacher) or KL(teacher || "
        "student) over the teacher's likeliest tokens, or the first by the sampled token alone, as a policy gradient, "
        "where the teacher gives no more or has another tokenizer.",
    )
    top_k: int = Field(
        64,
        ge=1,
        description="The teacher's likeliest tokens at each position; all others count as one event.",
    )
    clip: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="Of `sampled-reverse-kl`: a token that has become `1 + clip` times as likely as when it was "
        "sampled, or `1 - clip` times, is pushed no further.",
    )
    max_kl: float = Field(
        0.5,
        gt=0,
        description="A round stops with an error where the student has moved further than this from the round's start, "
        "in nats a token.",
    )
    least_entropy: float = Field(
        0.1,
        ge=0,
        description="And where its entropy has fallen below this share of the round's first step's.",
    )
    off_policy_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of a round's responses that are selected ones of the off-policy stage before, trained by "
        "cross-entropy.",
    )
    evaluate_rounds: bool = Field(False, description="Evaluate after each round, not after the last alone.")
    trainer: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="Keys of section `trainer` to change for this stage. `epochs` is 1 unless set here, a round's; "
        "the learning rate's schedule is that of all rounds together.",
    )

    @field_validator("loss")
    @classmethod
    def _of_the_sampling_distribution(cls, loss: str, info: ValidationInfo) -> str:
        temperature = info.data.get("temperature", 1.0)
        if loss == "sampled-reverse-kl" and temperature != 1:
            raise ValueError(
                f"wanted temperature: 1 beside sampled-reverse-kl, got {temperature:g}: its gradient is that of "
                "answers drawn from the student itself"
            )
        return loss

    def round_name(self, number: int) -> str:
        """Name of a round's checkpoint, counted from 1: that of the last one is the training's."""
        return self.name if number == self.rounds else f"{self.name}-{number}"


TrainingStage = Annotated[OffPolicyStage | MixedPolicyStage | OnPolicyStage, Field(discriminator="kind")]
