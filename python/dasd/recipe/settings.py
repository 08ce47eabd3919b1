"""Sections of a recipe: typed, frozen, every key with its meaning, default and bounds.

``dasd.recipe.draft`` reads YAML into these; ``docs/recipe.md`` is generated from them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationInfo,
    field_validator,
    model_validator,
)

LONGEST_NAME = 100
"""Characters of a name that becomes part of file names, which have at most 255 bytes."""
CPU_BATCH_SIZE = 32
"""``batch_size`` on a CPU where the recipe says nothing, and of whoever knows nothing better."""
CPU_TOKEN_BUDGET = 16_384
"""``token_budget`` likewise."""


class Section(BaseModel):
    """Base of every section: unknown keys are refused, no bool or text is a number, values never change.

    Fields that hold a tuple say ``strict=False``, so that a list of YAML is one; its items stay strict.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), strict=True, allow_inf_nan=False
    )


class ModelSettings(Section):
    """A model and the backend that runs it."""

    model: str = Field(
        description="A Hugging Face model directory or name, or one of the models that ship with dasd: "
        "`dasd:mini-teacher`, `dasd:mini-student`."
    )
    backend: str = Field("transformers", description="Inference backend, by its registered name.")
    python: str | None = Field(
        None,
        description="Python of another environment in which this model's engine runs, or the directory of a "
        "virtual environment; dasd of the same version and the backend's plugin have to be installed there.",
    )
    revision: str | None = Field(None, description="Revision of a named model; a directory has none.")
    precision: Literal["fp32", "bf16"] = Field("bf16", description="Data type that the weights run in.")
    device: str = Field("auto", description="`auto`, `cpu`, `cuda` or `cuda:N`.")
    batch_size: int | None = Field(
        None,
        ge=1,
        description="Responses decoded together; null: what the engine chooses for its device (built-in: 32 on a CPU, on "
        "a GPU as many as fit, at most 256).",
    )
    token_budget: int | None = Field(
        None,
        ge=16,
        description="Tokens in one forward pass while scoring; longer texts are scored in chunks. null: what the engine "
        "chooses for its device (built-in: 16384 on a CPU, on a GPU what fits, at most 131072).",
    )
    trust_remote_code: bool = Field(
        False, description="Run code that comes with the model. Off unless you trust it."
    )
    chat_template_options: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="Variables of the model's chat template, such as `enable_thinking: false`; for gpt-oss "
        "`reasoning_effort`: `low`, `medium` (the default) or `high`.",
    )
    options: dict[str, JsonValue] = Field(
        default_factory=dict, description="The backend's own options, checked by the backend."
    )


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


class SamplingSettings(Section):
    """How the teacher is sampled, at every temperature."""

    candidates: int = Field(4, ge=1, description="Responses sampled a question and temperature.")
    top_p: float = Field(
        1.0, gt=0, le=1, description="Nucleus: smallest set of tokens with this much probability."
    )
    max_tokens: int = Field(
        32768, ge=1, description="Cap on the new tokens of a response (teacher's tokens)."
    )
    chunk: int = Field(
        256,
        ge=1,
        description="Requests written together. A whole number of batches is best.",
    )


class FilterSettings(Section):
    """Which responses are kept. Every verdict is stored with its reason."""

    length: bool = Field(
        True, description="Drop responses over the training context by the student's tokenizer."
    )
    structure: Literal["think", "any"] = Field(
        "think", description="`think`: non-empty reasoning between think tags, then a non-empty answer."
    )
    tool_calls: bool = Field(True, description="Drop responses with tool or function calls.")
    truncated: bool = Field(True, description="Drop responses that hit the cap on tokens.")
    repetition: bool = Field(True, description="Drop responses that loop or repeat themselves.")
    repetition_share: float = Field(
        0.5, gt=0, le=1, description="Largest share of tokens that may lie in repeated n-grams."
    )
    loop_tokens: int = Field(
        48,
        ge=3,
        description="Tokens of a loop at the end of a response (a block three times or more) from which "
        "`repetition` drops it; a shorter one (dots, zeros, a rule) is no loop.",
    )
    answer: bool = Field(
        False, description="Drop responses whose answer the question's verifier finds wrong."
    )
    extra: tuple[str, ...] = Field(
        (), strict=False, description="Filters of plugins to apply as well, by name."
    )
    options: dict[str, dict[str, JsonValue]] = Field(
        default_factory=dict,
        description="Options of the filters in `extra`, each checked by its filter: `{NAME: {key: value}}`.",
    )


class DedupSettings(Section):
    """Questions that repeat one another or the benchmarks', before sampling; duplicates among kept responses."""

    exact: bool = Field(
        True, description="Drop exact duplicates of an earlier response to the same question."
    )
    near: bool = Field(
        True, description="Drop near duplicates of an earlier response to it (Jaccard of token n-grams)."
    )
    threshold: float = Field(
        0.8, gt=0, le=1, description="Jaccard similarity from which two responses are near duplicates."
    )
    ngram: int = Field(5, ge=1, description="Tokens (of questions: words) in an n-gram for near duplicates.")
    near_questions: float | None = Field(
        0.8,
        gt=0,
        le=1,
        description="Set aside training questions that are this similar to an earlier one (Jaccard of n-grams of "
        "`ngram` words, without the template of their source) and have the same numbers and answer; null: no check.",
    )
    contamination: float | None = Field(
        0.5,
        gt=0,
        le=1,
        description="Set aside training questions of which more than this share of n-grams occurs in the "
        "evaluation questions, or in those of `against`, before anything is sampled; null: no check.",
    )
    contamination_ngram: int = Field(13, ge=1, description="Words in an n-gram for contamination.")
    against: tuple[QuestionSource, ...] = Field(
        (),
        strict=False,
        description="Sources of benchmark questions that aren't evaluated here, to decontaminate against too.",
    )


class SelectSettings(Section):
    """Which of a question's candidates is trained on."""

    selector: str = Field(
        "divergence",
        description="`divergence` (most Teacher sentences), `coverage` (most that keep the teacher's mixture), `random`, `longest`, `ratio`, `fewest`, `grape`, "
        "`naturalness`, `length-matched`, or a plugin's.",
    )
    beta: float = Field(0.1, ge=0, lt=1, description="Teacher sentence: p_teacher - p_student > beta.")
    per_question: int = Field(1, ge=1, description="Responses kept a question.")
    options: dict[str, JsonValue] = Field(default_factory=dict, description="The selector's own options.")


class LoraSettings(Section):
    """The adapter of `trainer.adapter: lora`: two narrow matrices beside each adapted layer (arXiv 2106.09685)."""

    rank: int = Field(16, ge=1, description="Width of the two matrices.")
    alpha: int = Field(32, ge=1, description="Their product is added times alpha / rank.")
    targets: tuple[str, ...] = Field(
        (),
        strict=False,
        description="Linear layers that get an adapter, by name or by the end of their path (`q_proj`, "
        "`mlp.down_proj`); none named: all but the head.",
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the first of the two matrices.")


class TrainerSettings(Section):
    """Hyper-parameters of every training stage; a stage may override any of them."""

    trainer: str = Field("torch", description="Trainer, by its registered name.")
    epochs: float = Field(6.0, gt=0, description="Passes over the selected responses.")
    max_steps: int | None = Field(None, ge=1, description="Stop after this many optimiser steps.")
    optimizer: Literal["adamw", "muon"] = Field("adamw", description="torch's AdamW, or Muon for matrices.")
    adapter: Literal["lora"] | None = Field(
        None,
        description="`lora`: train an adapter (section `lora`, package peft) beside frozen weights and merge it "
        "into the checkpoint; null: train all weights.",
    )
    lora: LoraSettings = Field(
        default_factory=LoraSettings, description="What `adapter: lora` trains; keys of a stage add to these."
    )
    learning_rate: float = Field(5e-5, gt=0, description="Peak learning rate.")
    min_learning_rate: float = Field(
        1e-5, ge=0, validate_default=True, description="Where the cosine ends; at most the peak."
    )
    warmup_ratio: float = Field(0.1, ge=0, lt=1, description="Share of the steps with a linear warm-up.")
    betas: tuple[float, float] = Field((0.9, 0.95), strict=False, description="AdamW's betas.")
    weight_decay: float = Field(0.1, ge=0, description="Decoupled weight decay.")
    clip: float = Field(1.0, gt=0, description="Gradient norm at which gradients are clipped.")
    batch_size: int = Field(64, ge=1, description="Packs in an optimiser step.")
    micro_batch_size: int = Field(1, ge=1, description="Packs in a forward pass; the rest is accumulated.")
    max_length: int = Field(65536, ge=8, description="Tokens in a pack; also the longest response kept.")
    packing: bool = Field(True, description="Fill packs with several responses, isolated from one another.")
    precision: Literal["fp32", "bf16"] = Field(
        "bf16", description="Data type of the forward and backward pass."
    )
    gradient_checkpointing: bool = Field(False, description="Recompute activations: less memory, more time.")
    save_every: int = Field(100, ge=1, description="Optimiser steps between two saved states.")
    device: str = Field("auto", description="`auto`, `cpu`, `cuda` or `cuda:N`.")
    options: dict[str, JsonValue] = Field(default_factory=dict, description="The trainer's own options.")

    @field_validator("adapter")
    @classmethod
    def _not_with_muon(cls, adapter: str | None, info: ValidationInfo) -> str | None:
        if adapter is not None and info.data.get("optimizer") == "muon":
            raise ValueError(
                "wanted optimizer: adamw beside an adapter, got muon: it orthogonalises the update of a whole "
                "matrix, and the two narrow ones of an adapter are no such matrices"
            )
        return adapter

    @field_validator("min_learning_rate")
    @classmethod
    def _below_the_peak(cls, minimum: float, info: ValidationInfo) -> float:
        peak = info.data.get("learning_rate")  # absent where it is wrong itself
        if peak is not None and minimum > peak:
            raise ValueError(
                f"wanted at most learning_rate = {peak:g}, as the cosine goes down to it; got {minimum:g}: "
                "set both"
            )
        return minimum

    def result_keys(self) -> dict[str, JsonValue]:
        """Keys that change what comes out: not where it trains and how often it saves; of adapters only if one is trained.

        So a training of all weights is the same one whatever there is to say of adapters.
        """
        unused = {"adapter", "lora"} if self.adapter is None else set()
        return self.model_dump(mode="json", exclude={"device", "save_every", *unused})


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


TrainingStage = Annotated[OffPolicyStage | MixedPolicyStage, Field(discriminator="kind")]


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
    teacher_params: float | None = Field(
        None, gt=0, description="Parameters of the teacher where it isn't on this machine."
    )
    teacher_active: float | None = Field(
        None, gt=0, description="Of these, those that one token passes through (mixture of experts)."
    )
    student_params: float | None = Field(None, gt=0, description="As `teacher_params`, of the student.")
    student_active: float | None = Field(None, gt=0, description="As `teacher_active`, of the student.")
    devices: int = Field(1, ge=1, description="Devices that work together.")


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
    plan: PlanSettings = Field(default_factory=PlanSettings, description="What `dasd plan` counts with.")

    def sampling_for(self, stage: OffPolicyStage) -> SamplingSettings:
        """How the teacher is sampled for this stage."""
        own = {"candidates": stage.candidates, "max_tokens": stage.max_tokens}
        return self.sampling.model_copy(update={key: n for key, n in own.items() if n is not None})

    def select_for(self, stage: OffPolicyStage) -> SelectSettings:
        """How this stage selects."""
        own = {} if stage.per_question is None else {"per_question": stage.per_question}
        return self.select.model_copy(update=own)

    def trainer_for(self, stage: OffPolicyStage | MixedPolicyStage) -> TrainerSettings:
        """The trainer's settings with the stage's own changes applied, validated again."""
        merged: dict[str, Any] = {**self.trainer.model_dump(), **stage.trainer}
        own = stage.trainer.get("lora")
        if isinstance(own, dict):
            merged["lora"] = {**self.trainer.lora.model_dump(), **own}
        return TrainerSettings.model_validate(merged)

    @property
    def asks_teacher(self) -> bool:
        """Whether the teacher is run: a recipe that trains nothing, or on another run's responses, never does."""
        return bool(self.stages) and self.data is None
