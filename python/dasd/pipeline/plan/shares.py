"""Whether the questions have the domains that stages want, and enough of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dasd.pipeline.plan.records import Finding
from dasd.pipeline.stages.quotas import ANY, asked_counts, limits, question_limits, unknown_domains
from dasd.recipe.settings import RecipeSettings
from dasd.recipe.stage_settings import OffPolicyStage

__all__ = ["Askable", "check_shares"]


@dataclass(frozen=True, slots=True)
class Askable:
    """The training questions that a stage may ask."""

    domains: Mapping[str, int]
    unsaid: int = 0
    """Questions whose domain isn't known: their file isn't here, and their source names none."""
    exact: bool = False
    """All were read; else repeats and contaminated ones are still among them."""


def check_shares(settings: RecipeSettings, askable: Mapping[str, Askable]) -> list[Finding]:
    """A problem for a domain that no question has, a warning for one that can't fill its part of a ``total``."""
    findings = []
    for index, stage in enumerate(settings.stages):
        there = askable.get(stage.name)
        if not isinstance(stage, OffPolicyStage) or there is None:
            continue
        if not there.unsaid:
            for text in unknown_domains(stage, there.domains):
                key, _, rest = text.partition(": ")
                findings.append(Finding("problem", f"stages.{index}.{key}", rest))
        per_question = settings.select_for(stage).per_question
        asked = asked_counts(question_limits(stage, per_question), there.domains, there.unsaid)
        for domain, wanted in (limits(stage) or {}).items():
            most = asked[domain] * per_question
            if asked[domain] and most < wanted:
                of = "" if domain == ANY else f" of domain {domain!r}"
                text = f"at most {most:,} responses{of}, of {wanted:,} wanted: {asked[domain]:,} questions"
                advice = "give more questions, or keep more responses of each (per_question)"
                findings.append(Finding("warning", f"stages.{index}.total", text, advice))
    return findings
