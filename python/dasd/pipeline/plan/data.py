"""What a recipe with ``data`` takes of the other run: counted where that run is here, else by the stages' ``total``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from dasd.base.frames import only
from dasd.errors import DasdError
from dasd.pipeline.plan.records import UNKNOWN, Amount, Finding
from dasd.pipeline.stages.source_run import SourceRun
from dasd.plugins.recipe import Recipe
from dasd.recipe.question_settings import DataSettings
from dasd.recipe.stage_settings import OffPolicyStage
from dasd.store.directory import RUN

__all__ = ["TakenFacts", "is_elsewhere", "look_at_data"]


@dataclass(frozen=True, slots=True)
class TakenFacts:
    """Responses of the other run by this recipe's training stages."""

    responses: Mapping[str, Amount] = field(default_factory=dict)
    tokens: Mapping[str, float] = field(default_factory=dict)
    """Mean length of a response, in the tokens of the student that it was selected for, or of the teacher."""
    run: str = ""
    """Name of the other run, where it is here."""

    def of(self, stage: str) -> Amount:
        """Responses that training ``stage`` takes."""
        return self.responses.get(stage, UNKNOWN)


def is_elsewhere(data: DataSettings) -> bool:
    """Whether the other run isn't on this machine."""
    return not (Path(data.run) / RUN).is_file()


def look_at_data(recipe: Recipe) -> tuple[TakenFacts, list[Finding]]:
    """Count what would be taken, and say what is wrong with the other run or that it isn't here."""
    data = recipe.settings.data
    if data is None:
        return TakenFacts(), []
    if is_elsewhere(data):
        off_policy = [stage for stage in recipe.settings.stages if isinstance(stage, OffPolicyStage)]
        known = {
            stage.name: Amount(stage.total, stage.total) for stage in off_policy if stage.total is not None
        }
        lacking = [stage.name for stage in off_policy if stage.name not in known]
        text = f"{data.run} is no run directory on this machine"
        if known:
            counts = ", ".join(f"{name} {amount.expected:,}" for name, amount in known.items())
            text += f"; planned with the totals of its stages ({counts}), and nothing of it is checked"
        if lacking:
            text += f"; what it selected for {', '.join(lacking)} is unknown: give these stages a `total`"
        advice = "finish that run before this one"
        return TakenFacts(known), [Finding("warning", "data.run", text, advice)]
    try:
        source = SourceRun.open(recipe)
        responses, tokens = {}, {}
        for stage in source.stages:
            taken = source.taken(stage)
            responses[stage.name] = Amount.exactly(len(taken))
            scores = source.samples(stage).replace("sample-", "score-", 1)
            scored = isinstance(stage, OffPolicyStage) and scores in source.manifests
            rows = source.run.frame(*(("scores", scores) if scored else ("samples", source.samples(stage))))
            lengths = rows.select("sample_id", tokens=pl.col("token_ids").list.len().cast(pl.UInt64))
            own = [only(batch, taken).get_column("tokens") for batch in lengths.collect_batches()]
            count = sum(map(len, own))
            tokens[stage.name] = sum(int(batch.sum()) for batch in own) / count if count else 0.0
    except DasdError as error:
        return TakenFacts(), [Finding("problem", "data.run", str(error).removeprefix("data.run: "))]
    return TakenFacts(responses, tokens, source.run.record.name), []
