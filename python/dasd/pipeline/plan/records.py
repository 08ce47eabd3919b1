"""What a plan says: findings, amounts with their grounds, and the stages with what each will cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Level = Literal["problem", "warning", "note"]


LIKELIEST_BYTES = 8
"""Of one of a position's likeliest tokens: its id and its log-probability."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found. With a ``problem`` the run can't start or can't end well."""

    level: Level
    key: str
    """Key path in the recipe, or the option or path that it is about."""
    text: str
    advice: str = ""
    """What to do."""


@dataclass(frozen=True, slots=True)
class Amount:
    """A count that is known before the run only in part."""

    expected: int | None
    most: int | None
    """Upper bound, where there is one."""
    exact: bool = False
    """It will be this number, or was: ``expected == most``."""

    @classmethod
    def exactly(cls, count: int) -> Amount:
        """A count that is known."""
        return cls(count, count, exact=True)


UNKNOWN = Amount(None, None)
NONE = Amount(0, 0, exact=True)

ModelRole = Literal["teacher", "student"]


@dataclass(frozen=True, slots=True)
class Generation:
    """Tokens that one model writes in a stage."""

    role: ModelRole
    requests: Amount
    tokens: Amount
    benchmark: str = ""
    """Whose questions are answered, in an evaluation that isn't done."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """Tokens of responses that one model scores in a stage; the prompts before them are not counted."""

    role: ModelRole
    responses: Amount
    tokens: Amount
    top: int = 0
    """Likeliest tokens that are kept of each position."""


@dataclass(frozen=True, slots=True)
class Training:
    """Work of a trainer. ``tokens``: over all epochs, prompts counted, padding not."""

    rows: Amount
    row_tokens: Amount
    """Of all rows once, as they are written."""
    tokens: Amount
    steps: Amount
    told: int = 0
    """Bytes that each row's token comes with besides itself: what a teacher says of it."""


@dataclass(frozen=True, slots=True)
class StageWork:
    """What a stage has to do, however fast that goes."""

    rows: Amount = UNKNOWN
    """Rows of its main frame: questions, responses, verdicts or training rows."""
    generates: tuple[Generation, ...] = ()
    scores: tuple[Scoring, ...] = ()
    trains: Training | None = None
    takes: Scoring | None = None
    """Responses that are copied from another run: room on the disk, no time worth counting."""


@dataclass(frozen=True, slots=True)
class StageCost:
    """Time and room of a stage."""

    seconds: float | None
    """Expected; None where no rate or no amount is known, ``missing`` says which."""
    seconds_most: float | None
    disk_bytes: int | None
    """Expected, with what it leaves in checkpoints/."""
    disk_bytes_most: int | None
    scratch_bytes: int | None = 0
    """Needed besides while it runs."""
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StagePlan:
    """One stage of the plan. A stage that is done costs nothing more; its numbers are what it did."""

    number: int
    name: str
    kind: str
    state: str | None
    """done, partial, changed or new; None where it can't be told."""
    work: StageWork
    cost: StageCost


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Memory that one use of a model takes at least, on all of its devices together."""

    what: str
    """E.g. ``teacher, sampling``."""
    parts: dict[str, int] = field(default_factory=dict)
    """Bytes by what they hold, e.g. ``weights``."""
    missing: str = ""
    """Why the total is unknown."""
    available: int | None = None
    """Bytes that the devices have, as far as they are known."""

    @property
    def total(self) -> int | None:
        """Bytes of all parts."""
        return None if self.missing else sum(self.parts.values())


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """What is known of a model before it is loaded."""

    role: ModelRole
    model: str
    here: bool
    """Whether its files are on this machine."""
    parameters: int | None
    context_length: int | None
    grounds: str
    """Where the sizes are from."""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """The whole plan."""

    name: str
    directory: str
    stages: tuple[StagePlan, ...]
    models: tuple[ModelPlan, ...]
    memory: tuple[MemoryPlan, ...]
    questions: Amount
    evaluation_questions: Amount
    free_disk_bytes: int
    assumptions: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def problems(self) -> tuple[Finding, ...]:
        """Findings that keep the run from starting or ending well."""
        return tuple(f for f in self.findings if f.level == "problem")


@dataclass(frozen=True, slots=True)
class Given:
    """What the user tells the plan. Rates are of all devices together."""

    response_tokens: float | None = None
    """Mean length of the teacher's responses, in its tokens."""
    answer_tokens: float | None = None
    """Mean length of the student's answers in evaluation."""
    rate: float | None = None
    """Tokens a second that the teacher generates."""
    student_rate: float | None = None
    score_rate: float | None = None
    """Tokens a second that the student scores."""
    train_rate: float | None = None
    student_parameters: float | None = None
    """Of a student that isn't on this machine."""
