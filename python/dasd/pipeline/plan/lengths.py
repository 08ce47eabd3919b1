"""How long responses, answers and prompts will be: given, measured, or assumed and said so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dasd.pipeline.plan.measured import Measured
from dasd.pipeline.plan.records import Given, ModelRole
from dasd.recipe.settings import RecipeSettings
from dasd.recipe.stage_settings import OffPolicyStage
from dasd.recipe.training_settings import TrainerSettings

__all__ = ["Lengths", "PromptLengths"]

ASSUMED_SHARE_OF_CAP = 0.5
ASSUMED_PROMPT_TOKENS = 200
REPORT_DRIFTED = 0.30
"""arXiv 2601.09088: of 50K answers 15K hit their cap,"""
REPORT_MIXED_KEPT = 0.85
"""and 12.7K of their continuations passed the filters."""


@dataclass(frozen=True, slots=True)
class PromptLengths:
    """Tokens of rendered prompts of one model, over the questions that were looked at."""

    mean: float
    longest: int
    looked_at: int


@dataclass
class Lengths:
    """Means and bounds in tokens. What is not known is assumed, and written into ``assumptions``."""

    settings: RecipeSettings
    given: Given
    measured: Measured
    contexts: Mapping[ModelRole, int | None]
    prompts: Mapping[ModelRole, PromptLengths | None]
    shared_tokenizer: bool | None
    """Whether both models write a text in the same tokens; None where that can't be told."""
    assumptions: dict[str, None] = field(default_factory=dict)
    """In the order in which they were made."""

    @property
    def certain(self) -> bool:
        """The responses' length is given or measured."""
        return self.given.response_tokens is not None or self.measured.response_tokens("") is not None

    def most(self, stage: str = "") -> int:
        """Most new tokens of a response of the sample stage ``stage``, in the teacher's tokens; "": of any stage."""
        off_policy = [each for each in self.settings.stages if isinstance(each, OffPolicyStage)]
        own = [each for each in off_policy if stage in ("", f"sample-{each.name}")]
        caps = [self.settings.sampling_for(each).max_tokens for each in own]
        return self.cap("teacher", max(caps, default=self.settings.sampling.max_tokens))

    def cap(self, role: ModelRole, wanted: int) -> int:
        """``wanted`` new tokens, as far as the model's context has room."""
        context = self.contexts[role]
        return wanted if context is None else min(wanted, context)

    def response(self, stage: str) -> float:
        """Mean tokens of a teacher's response, in the teacher's tokens. ``stage``: the sample stage."""
        cap = self.most(stage)
        if self.given.response_tokens is not None:
            self.assume(f"responses of {self.given.response_tokens:g} tokens on average (--response-tokens)")
            return min(cap, self.given.response_tokens)
        measured = self.measured.response_tokens(stage)
        if measured is not None:
            self.assume(f"responses of {measured:.1f} tokens on average in {stage}: measured in this run")
            return measured
        key, said = self._said(stage)
        if said is not None:
            self.assume(f"responses of {said:g} tokens on average in {stage or 'the run'} ({key})")
            return min(cap, said)
        mean = cap * ASSUMED_SHARE_OF_CAP
        self.assume(
            f"responses of {mean:.0f} tokens on average: half of the cap, for want of a better number "
            "(--response-tokens gives yours)"
        )
        return mean

    def _said(self, stage: str) -> tuple[str, float | None]:
        """What the recipe says of the length of responses, and its key."""
        for each in self.settings.stages:
            own = each.response_tokens if isinstance(each, OffPolicyStage) else None
            if own is not None and stage == f"sample-{each.name}":
                return f"stages.{each.name}.response_tokens", own
        return "plan.response_tokens", self.settings.plan.response_tokens

    def response_of_student(self, stage: str) -> float:
        """Mean tokens of a teacher's response as the student's tokenizer writes it."""
        measured = self.measured.scored_tokens()
        if measured is not None and self.given.response_tokens is None:
            return measured
        if self.shared_tokenizer is not True:
            self.assume("the student's tokenizer writes a response in as many tokens as the teacher's")
        return self.response(stage)

    def longest_of_student(self, trainer: TrainerSettings) -> int | None:
        """Most tokens of a kept response in the student's tokens; None: no bound."""
        bounds = []
        if self.settings.filters.length:
            bounds.append(trainer.max_length)
        if self.shared_tokenizer:
            bounds.append(self.most())
        if not bounds and self.contexts["student"] is not None:
            bounds.append(self.contexts["student"])
        return min(bounds) if bounds else None

    def answer(self, max_tokens: int | None = None) -> float:
        """Mean tokens of a student's answer in evaluation, of a benchmark with this cap (None: the recipe's)."""
        cap = self.cap("student", max_tokens or self.settings.evaluation.max_tokens)
        if self.given.answer_tokens is not None:
            self.assume(f"answers of {self.given.answer_tokens:g} tokens on average (--answer-tokens)")
            return min(cap, self.given.answer_tokens)
        measured = self.measured.answer_tokens()
        if measured is not None:
            self.assume(f"answers of {measured:.1f} tokens on average: measured in this run")
            return measured
        said = self.settings.plan.answer_tokens
        if said is not None:
            self.assume(f"answers of {said:g} tokens on average (plan.answer_tokens)")
            return min(cap, said)
        if not self.settings.stages:
            self.assume("answers half as long as their cap, for want of a better number (--answer-tokens)")
            return cap * ASSUMED_SHARE_OF_CAP
        self.assume("the student's answers are as long as the teacher's responses (--answer-tokens)")
        return min(cap, self.response(""))

    def prompt(self, role: ModelRole) -> float:
        """Mean tokens of a prompt."""
        known = self.prompts[role]
        if known is not None:
            return known.mean
        self.assume(f"prompts of {ASSUMED_PROMPT_TOKENS} tokens on average")
        return ASSUMED_PROMPT_TOKENS

    def kept_share(self, stage: str) -> float:
        """Share of the teacher's responses that filters and deduplication keep."""
        measured = self.measured.kept_share(stage)
        if measured is None:
            self.assume("filters and deduplication keep every response, for want of a measured share")
            return 1.0
        self.assume(f"filters and deduplication keep {measured:.1%} for {stage}: measured in this run")
        return measured

    def mixed(self) -> tuple[float, float]:
        """Share of the student's answers that drift, and share of those whose continuation is kept."""
        measured = self.measured.mixed()
        if measured is not None:
            self.assume(
                f"{measured[0]:.0%} of the student's answers drift and {measured[1]:.0%} of their continuations "
                "are kept: measured in this run"
            )
            return measured
        self.assume(
            f"{REPORT_DRIFTED:.0%} of the student's answers drift and {REPORT_MIXED_KEPT:.0%} of their "
            "continuations are kept, as in arXiv 2601.09088"
        )
        return REPORT_DRIFTED, REPORT_MIXED_KEPT

    def assume(self, text: str) -> None:
        """Say that a number rests on ``text``."""
        self.assumptions[text] = None
