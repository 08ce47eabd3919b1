"""The shape of ``report.json``: what the page and the terminal show, for programs to read.

``format`` is raised when a field changes its meaning or goes; fields may be added without that.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "FORMAT",
    "AnswerFigures",
    "AnswerPart",
    "CheckpointFigures",
    "DistilledFigures",
    "FigureNote",
    "FlowRow",
    "MachineFacts",
    "Metric",
    "ModelFacts",
    "OriginFacts",
    "OwnAnswersFigures",
    "Part",
    "ReportData",
    "RoundFigures",
    "RunFacts",
    "SelectionFigures",
    "StageTime",
    "TrainingFigures",
]

FORMAT: Literal[1] = 1
"""Version of the shape of report.json."""


class Part(BaseModel):
    """Base of every part: values never change; fields that a newer dasd added are ignored."""

    model_config = ConfigDict(frozen=True, protected_namespaces=(), extra="ignore")


class ModelFacts(Part):
    """A model of the run."""

    role: Literal["teacher", "student"]
    model: str
    backend: str
    revision: str = Field("", description="Content fingerprint or hub revision; empty if no row carries one.")
    tokenizer_hash: str = ""
    engine: str = ""
    engine_version: str = ""


class MachineFacts(Part):
    """What the run was last started on."""

    cpu: str
    cores: int
    memory_bytes: int
    accelerators: tuple[str, ...]
    platform: str


class OriginFacts(Part):
    """The run that the responses were taken from (recipe key ``data``)."""

    run: str
    created: str = Field(description="When that run's directory was made, ISO 8601 in UTC.")
    selected_in: str = Field(description="The run that selected them: itself, or one that it took them from.")
    student: str = Field(description="The model that they were selected for.")
    selector: str
    contents: dict[str, str] = Field(description="Digest of what each of its stages wrote that was read.")


class RunFacts(Part):
    """Where the figures come from."""

    name: str
    started: str = Field(description="When the run directory was made, ISO 8601 in UTC.")
    dasd_version: str
    versions: dict[str, str] = Field(description="Python and the libraries that did the work.")
    machine: MachineFacts
    seed: int
    models: tuple[ModelFacts, ...]
    origin: OriginFacts | None = Field(None, description="Null where the run sampled its own responses.")
    command: str = Field(description="Command that reproduces the run from its resolved recipe.")


class Metric(Part):
    """One figure of one checkpoint; the unit is in the name of the metric."""

    benchmark: str
    metric: str
    group: str = Field(description='"all", or one domain.')
    value: float | None = Field(description="Null if the figure is not finite.")
    standard_error: float | None
    n: int = Field(description="Questions, or held-out responses, that the standard error is over.")


class CheckpointFigures(Part):
    """A model that was evaluated: the student before and after each training, and the teacher."""

    name: str = Field(description='"before", the name of a training stage, or "teacher".')
    role: Literal["before", "trained", "teacher"]
    metrics: tuple[Metric, ...]

    def metric(self, name: str, group: str = "all", benchmark: str | None = None) -> Metric | None:
        """The first metric of that name and group, of one benchmark or of any; None without one."""
        for metric in self.metrics:
            if (metric.metric, metric.group) == (name, group) and benchmark in (None, metric.benchmark):
                return metric
        return None


class SelectionFigures(Part):
    """What selection did at one temperature. A share is None where it can't be known."""

    stage: str
    temperature: float
    selector: str
    beta: float
    candidates: int
    questions: int
    selected: int
    sentences: int
    teacher_share: float | None = Field(
        description="Teacher sentences over the candidates' sentences; null where the teacher has no raw "
        "log-probabilities."
    )
    student_share: float | None
    common_share: float | None
    score_length_correlation: float | None = Field(
        description="Rank correlation of the selector's score with the response's length in student tokens."
    )
    agreement_longest: float | None = Field(description="Share of questions where longest picks the same.")
    agreement_random: float | None = Field(description="Share where a random draw picks the same.")
    agreement_random_expected: float | None = Field(description="Share where a random draw would on average.")
    discriminated: float | None = Field(description="Share of questions whose candidates' scores differ.")
    tokens_mean_before: float | None = Field(description="Mean length of the candidates, student tokens.")
    tokens_mean_after: float | None = Field(description="Mean length of the selected, student tokens.")
    wrong_before: float | None = Field(description="Share of wrong answers among the graded candidates.")
    wrong_after: float | None = Field(description="Share of wrong answers among the graded selected ones.")
    warnings: tuple[str, ...] = ()


class FlowRow(Part):
    """How many responses of one training stage were left after each step; None where a step has not run."""

    stage: str
    kind: Literal["off-policy", "mixed-policy"]
    temperature: float
    questions: int | None
    sampled: int | None = Field(
        description="Responses of the teacher; of a mixed-policy stage the student's own answers."
    )
    continued: int | None = Field(
        None, description="Mixed-policy: answers that drifted, from which the teacher went on."
    )
    dropped_by_filter: dict[str, int] = Field(
        description="Responses dropped, by the filter's reason; of a mixed-policy stage, continued ones."
    )
    after_filter: int | None
    dropped_by_dedup: dict[str, int]
    after_dedup: int | None
    selected: int | None
    trained_rows: int | None
    trained_tokens: int | None = Field(description="Student tokens with loss, once through the data.")


class RoundFigures(Part):
    """One round of an on-policy training: the answers of the student at its start, and the training on them."""

    stage: str
    round: int = Field(description="From 1.")
    answers: int
    tokens_mean: float | None
    cut_off_share: float | None
    accuracy: float | None = Field(description="Share of right ones among those that a verifier grades.")
    graded: int
    reverse_kl_per_response: float | None = Field(
        description="Mean of log p_student − log p_teacher of an answer, nats."
    )
    reverse_kl_per_token: float | None
    entropy_per_token: float | None = Field(description="Mean of −log p_student, nats a token.")
    forward_kl_per_token: float | None = Field(
        None, description="KL(teacher || student) at the answers' tokens, nats; null in the sampled form."
    )
    steps: int | None
    kl_from_start: float | None = Field(
        description="Largest estimate at any step of the KL from the student of the round's start, nats a token."
    )


class TrainingFigures(Part):
    """One training; of an on-policy one all its rounds together."""

    stage: str
    trained: str = Field(description="All weights, or the adapter.")
    steps: int
    tokens: int = Field(description="Tokens seen over all epochs.")
    first_loss: float | None = Field(description="Nats a token at the first step.")
    last_loss: float | None
    seconds: float


class DistilledFigures(Part):
    """Kinds of sentences once the distilled model has scored a few selected responses too."""

    stage: str = Field(description="Training stage whose selected responses were scored.")
    checkpoint: str = Field(description="Training stage whose model scored them.")
    responses: int
    alpha: float
    beta: float
    sentences: dict[str, int] = Field(description="Sentences by kind.")
    mean_p_teacher: float | None
    mean_p_student: float | None
    mean_p_distilled: float | None


class AnswerPart(Part):
    """One of the equal parts that answers are cut into along their sentences."""

    part: int = Field(description="From 0, where an answer begins.")
    sentences: int
    shares: dict[str, float] = Field(description="Share of each kind that occurs among them.")
    mean_p_teacher: float | None
    mean_p_student: float | None = Field(description="Of the student before distillation.")
    mean_p_distilled: float | None


class AnswerFigures(Part):
    """The student's right answers, or its wrong ones."""

    correct: bool
    responses: int = Field(description="Answers that all three models have scored.")
    available: int = Field(description="Graded answers that they were drawn from.")
    sentences: dict[str, int] = Field(description="Sentences by kind.")
    parts: tuple[AnswerPart, ...]


class OwnAnswersFigures(Part):
    """Kinds of sentences in what the distilled student answered in its evaluation."""

    checkpoint: str = Field(description="Training stage whose model answered.")
    most: int = Field(description="Right and wrong answers that are drawn, of each at most.")
    refused: int = Field(description="Drawn answers that a model couldn't score, e.g. over its context.")
    alpha: float
    beta: float
    answers: tuple[AnswerFigures, ...] = Field(description="Right ones, then wrong ones; only what there is.")


class FigureNote(Part):
    """A figure of the page, or why it is left out."""

    figure: str
    title: str
    shown: bool
    n: str = Field(description="What it was drawn from.")
    why_not: str = ""


class StageTime(Part):
    """Working time of one stage over all its starts."""

    stage: str
    kind: str
    seconds: float


class ReportData(Part):
    """Everything that the report says in numbers."""

    format: Literal[1] = FORMAT
    run: RunFacts
    checkpoints: tuple[CheckpointFigures, ...]
    selections: tuple[SelectionFigures, ...]
    flow: tuple[FlowRow, ...]
    trainings: tuple[TrainingFigures, ...]
    rounds: tuple[RoundFigures, ...] = Field((), description="Of on-policy trainings.")
    distilled: DistilledFigures | None
    own_answers: OwnAnswersFigures | None = None
    figures: tuple[FigureNote, ...]
    stages: tuple[StageTime, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = Field(description="What to know before reading the figures.")
