"""A whole recipe: typed, frozen sections, every key with its meaning, default and bounds.

Each section stands in a file of its own, named for it. ``dasd.recipe.draft`` reads YAML into these;
``docs/recipe.md`` is generated from them.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from dasd.recipe.curation_settings import DedupSettings, FilterSettings, SamplingSettings, SelectSettings
from dasd.recipe.evaluation_settings import EvaluationSettings
from dasd.recipe.executor_settings import ExecutorSettings
from dasd.recipe.model_settings import ModelSettings
from dasd.recipe.question_settings import DataSettings, QuestionsSettings
from dasd.recipe.section import LONGEST_NAME, Section
from dasd.recipe.stage_settings import OffPolicyStage, OnPolicyStage, TrainingStage
from dasd.recipe.training_settings import TrainerSettings

__all__ = ["EngineTimes", "PlanSettings", "RecipeSettings"]


class EngineTimes(Section):
    """How fast one engine decodes, so that a plan can simulate its stages; measured or looked up by you."""

    step_ms: float = Field(gt=0, description="Milliseconds of a decoding step, whatever runs in it.")
    step_ms_a_sequence: float = Field(0.0, ge=0, description="Milliseconds more for each sequence in it.")
    read_ms_a_token: float = Field(0.0, ge=0, description="Milliseconds to read a token of a prompt.")
    room_tokens: float | None = Field(
        None, gt=0, description="Tokens whose keys and values fit into its memory; null: no bound."
    )
    sequences: int | None = Field(
        None,
        ge=1,
        description="Sequences that it decodes together at most; null: what the model's section says, else 32 on a "
        "CPU and 256 on a GPU.",
    )
    engines: int | None = Field(
        None,
        ge=1,
        description="Engines side by side; null: what the executor's options say, else the model's (a list of "
        "servers), else one.",
    )
    start_seconds: float = Field(0.0, ge=0, description="Seconds until it takes the first request.")
    spread: float = Field(
        0.8, ge=0, description="Of the logarithm of responses' lengths, which are taken as log-normal."
    )


class PlanSettings(Section):
    """What `dasd plan` counts with where its options don't say and the run has measured nothing.

    The run itself looks at none of it.
    """

    response_tokens: float | None = Field(
        None, gt=0, description="Mean length of the teacher's responses; a stage's own key comes first."
    )
    answer_tokens: float | None = Field(
        None, gt=0, description="Mean length of the student's answers in evaluation."
    )
    student_params: float | None = Field(
        None, gt=0, description="Parameters of the student where it isn't on this machine."
    )

    teacher_engine: EngineTimes | None = Field(
        None, description="Simulates what the teacher generates; null: tokens over a rate."
    )
    student_engine: EngineTimes | None = Field(None, description="The same of the student.")

    @model_validator(mode="before")
    @classmethod
    def _without_former_keys(cls, data: Any) -> Any:
        """Recipes and runs of before may have keys of estimates that are no longer made."""
        former = {"teacher_params", "teacher_active", "student_active", "devices"}
        return {key: data[key] for key in data if key not in former} if isinstance(data, dict) else data


class RecipeSettings(Section):
    """A whole recipe."""

    name: str = Field(
        "run",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        max_length=LONGEST_NAME,
        description="Names the run directory.",
    )
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of everything that is random.")
    plugins: tuple[str, ...] = Field((), strict=False, description="Plugins to load, as with --plugins.")
    unsafe_run_code_without_sandbox: bool = Field(
        False,
        description="Run code that a model wrote without a sandbox, with all that your user may do: read and "
        "delete your files, use your network. For machines where bubblewrap can't run; off unless you accept that.",
    )
    refused_share: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Largest share of a stage's requests that an engine may refuse (a prompt without room in its "
        "context, a server's error about this one request). They are set aside with their reason and the others go "
        "on; beyond it the stage stops. Up to five are always allowed, of fewer than ten half; 1: no bound.",
    )
    teacher: ModelSettings = Field(description="The model to learn from.")
    student: ModelSettings = Field(description="The model that learns.")
    questions: QuestionsSettings = Field(description="Questions to train on and to evaluate on.")
    data: DataSettings | None = Field(
        None, description="Train on the responses that another run selected: its directory, or a section."
    )
    sampling: SamplingSettings = Field(default_factory=SamplingSettings, description="Sampling the teacher.")
    filters: FilterSettings = Field(default_factory=FilterSettings, description="Which responses are kept.")
    dedup: DedupSettings = Field(default_factory=DedupSettings, description="Duplicates and contamination.")
    select: SelectSettings = Field(
        default_factory=SelectSettings, description="Which candidate is trained on."
    )
    stages: tuple[TrainingStage, ...] = Field(
        strict=False, min_length=1, description="The trainings, in order."
    )
    trainer: TrainerSettings = Field(default_factory=TrainerSettings, description="Hyper-parameters.")
    evaluation: EvaluationSettings = Field(
        default_factory=EvaluationSettings, description="What is measured."
    )
    executor: ExecutorSettings = Field(
        default_factory=ExecutorSettings, description="Where the engines run: this machine or a cluster."
    )
    plan: PlanSettings = Field(default_factory=PlanSettings, description="What `dasd plan` counts with.")

    def sampling_for(self, stage: OffPolicyStage) -> SamplingSettings:
        """How the teacher is sampled for this stage."""
        own = {"candidates": stage.candidates, "max_tokens": stage.max_tokens}
        return self.sampling.model_copy(update={key: n for key, n in own.items() if n is not None})

    def select_for(self, stage: OffPolicyStage) -> SelectSettings:
        """How this stage selects."""
        own = {} if stage.per_question is None else {"per_question": stage.per_question}
        return self.select.model_copy(update=own)

    def trainer_for(self, stage: TrainingStage) -> TrainerSettings:
        """The trainer's settings with the stage's own changes applied, validated again."""
        plain = {"epochs": 1.0} if isinstance(stage, OnPolicyStage) else {}
        merged: dict[str, Any] = {**self.trainer.model_dump(), **plain, **stage.trainer}
        own = stage.trainer.get("lora")
        if isinstance(own, dict):
            merged["lora"] = {**self.trainer.lora.model_dump(), **own}
        return TrainerSettings.model_validate(merged)

    @property
    def asks_teacher(self) -> bool:
        """Whether the teacher is run: a recipe that trains nothing, or on another run's responses alone, never does."""
        return bool(self.stages) and (self.data is None or bool(self.on_policy))

    @property
    def on_policy(self) -> list[OnPolicyStage]:
        """The trainings on the student's own answers."""
        return [stage for stage in self.stages if isinstance(stage, OnPolicyStage)]
