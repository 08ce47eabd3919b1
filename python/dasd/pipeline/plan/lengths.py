"""How long responses, answers and prompts will be: given, measured or said; else there are bounds alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dasd.pipeline.plan.measured import Measured
from dasd.pipeline.plan.records import Given, ModelRole
from dasd.recipe.settings import RecipeSettings
from dasd.recipe.stage_settings import OffPolicyStage
from dasd.recipe.training_settings import TrainerSettings

__all__ = ["Lengths", "PromptLengths"]


@dataclass(frozen=True, slots=True)
class PromptLengths:
    """Tokens of rendered prompts of one model, over the questions that were looked at."""

    mean: float
    longest: int


@dataclass
class Lengths:
    """Means and bounds in tokens. What a mean rests on, and that there is none, is in ``assumptions``."""

    settings: RecipeSettings
    given: Given
    measured: Measured
    contexts: Mapping[ModelRole, int | None]
    prompts: Mapping[ModelRole, PromptLengths | None]
    shared_tokenizer: bool | None
    """Whether both models write a text in the same tokens; None where that can't be told."""
    assumptions: dict[str, None] = field(default_factory=dict)
    """In the order in which they were made."""

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

    def response(self, stage: str) -> float | None:
        """Mean tokens of a teacher's response, in the teacher's tokens. ``stage``: the sample stage."""
        measured = self.measured.response_tokens(stage)
        what, of = f"responses in {stage}", (self.given.response_tokens, "--response-tokens")
        return self._mean(what, self.most(stage), of, measured, self._said(stage))

    def _mean(
        self,
        what: str,
        cap: int,
        given: tuple[float | None, str],
        measured: float | None,
        said: tuple[float | None, str],
    ) -> float | None:
        """What is given, else measured, else said in the recipe."""
        if given[0] is None and measured is not None:
            self.assume(f"{what} have {measured:.1f} tokens on average: measured in this run")
            return measured
        mean, key = given if given[0] is not None else said
        if mean is None:
            self.assume(
                f"how long {what.partition(' in ')[0]} are isn't known: their tokens are bounds ({given[1]}: a mean)"
            )
            return None
        self.assume(f"{what} have {mean:g} tokens on average ({key})")
        return min(cap, mean)

    def _said(self, stage: str) -> tuple[float | None, str]:
        """What the recipe says of the length of responses, and its key."""
        for each in self.settings.stages:
            own = each.response_tokens if isinstance(each, OffPolicyStage) else None
            if own is not None and stage == f"sample-{each.name}":
                return own, f"stages.{each.name}.response_tokens"
        return self.settings.plan.response_tokens, "plan.response_tokens"

    def response_of_student(self, stage: str) -> float | None:
        """Mean tokens of a teacher's response as the student's tokenizer writes it."""
        measured = self.measured.scored_tokens()
        if measured is not None and self.given.response_tokens is None:
            return measured
        response = self.response(stage)
        if response is not None and self.shared_tokenizer is not True:
            self.assume("the student's tokenizer writes a response in as many tokens as the teacher's")
        return response

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

    def answer(self, max_tokens: int | None = None) -> float | None:
        """Mean tokens of a student's answer in evaluation, of a benchmark with this cap (None: the recipe's)."""
        cap = self.cap("student", max_tokens or self.settings.evaluation.max_tokens)
        given, said = self.given.answer_tokens, self.settings.plan.answer_tokens
        measured = self.measured.answer_tokens()
        return self._mean(
            "the student's answers", cap, (given, "--answer-tokens"), measured, (said, "plan.answer_tokens")
        )

    def prompt(self) -> float:
        """Mean tokens of a prompt of the student's; 0 where its tokenizer can't be loaded here, and told."""
        known = self.prompts["student"]
        if known is not None:
            return known.mean
        self.assume("prompts aren't counted among expected tokens: the student's tokenizer isn't here")
        return 0.0

    def kept_share(self, stage: str) -> float:
        """Share of the teacher's responses that filters and deduplication keep."""
        measured = self.measured.kept_share(stage)
        if measured is None:
            self.assume("filters and deduplication keep every response, for want of a measured share")
            return 1.0
        self.assume(f"filters and deduplication keep {measured:.1%} for {stage}: measured in this run")
        return measured

    def mixed(self) -> tuple[float, float] | None:
        """Share of the student's answers that drift, and share of those whose continuation is kept."""
        measured = self.measured.mixed()
        if measured is None:
            self.assume(
                "how many of the student's answers drift isn't known: what follows of them are bounds"
            )
            return None
        self.assume(
            f"{measured[0]:.0%} of the student's answers drift and {measured[1]:.0%} of their continuations "
            "are kept: measured in this run"
        )
        return measured

    def assume(self, text: str) -> None:
        """Say that a number rests on ``text``."""
        self.assumptions[text] = None
