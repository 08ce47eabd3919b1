"""What the rounds of on-policy trainings did: gathered from their stages, as a table and as series for the figure."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from dasd.recipe.stage_settings import OnPolicyStage
from dasd.results.report.data import ReportData, RoundFigures
from dasd.results.report.numbers import as_float, count, decimal, number, percent
from dasd.results.report.tables import TextTable
from dasd.store import Manifest, Run

__all__ = ["round_tables", "rounds", "training_of"]


def training_of(run: Run, manifest: Manifest) -> str:
    """Name of the recipe's training that a ``train`` stage is, or is a round of."""
    name = manifest.name.removeprefix("train-")
    for stage in run.settings.stages:
        if isinstance(stage, OnPolicyStage) and name.rpartition("-")[0] == stage.name:
            return stage.name
    return name


def rounds(run: Run) -> tuple[RoundFigures, ...]:
    """A row a round whose answers are there."""
    done = {manifest.name: manifest for manifest in run.stages()}
    found = []
    for stage in run.settings.stages:
        if not isinstance(stage, OnPolicyStage):
            continue
        for each in range(1, stage.rounds + 1):
            rollout = done.get(f"rollout-{stage.name}-{each}")
            if rollout is None:
                continue
            trained = done.get(f"train-{stage.round_name(each)}")
            found.append(_figures(run, stage.name, each, rollout, trained))
    return tuple(found)


def _figures(run: Run, stage: str, each: int, rollout: Manifest, trained: Manifest | None) -> RoundFigures:
    said = {name: as_float(value) for name, value in rollout.summary.items()}
    steps, moved, forward = None, None, None
    if trained is not None and "on_policy_losses" in trained.rows:
        rows = run.frame("on_policy_losses", trained.name).select(
            pl.len(), pl.col("kl_from_start").max(), pl.col("forward_kl").sort_by("step").first()
        )
        steps, moved, forward = rows.collect().row(0)
    return RoundFigures(
        stage=stage,
        round=each,
        answers=int(said.get("responses") or 0),
        tokens_mean=said.get("tokens_mean"),
        cut_off_share=said.get("cut_off_share"),
        accuracy=said.get("accuracy"),
        graded=int(said.get("graded") or 0),
        reverse_kl_per_response=said.get("reverse_kl_nats_per_response"),
        reverse_kl_per_token=said.get("reverse_kl_nats_per_token"),
        entropy_per_token=said.get("entropy_nats_per_token"),
        forward_kl_per_token=as_float(forward),
        steps=steps,
        kl_from_start=as_float(moved),
    )


def round_tables(data: ReportData) -> list[TextTable]:
    """One table a training."""
    by_stage: dict[str, list[RoundFigures]] = {}
    for item in data.rounds:
        by_stage.setdefault(item.stage, []).append(item)
    return [_table(stage, rows) for stage, rows in by_stage.items()]


def _table(stage: str, rows: Sequence[RoundFigures]) -> TextTable:
    return TextTable(
        caption=f"Rounds of {stage}",
        head=(
            *(
                "round",
                "answers",
                "reverse KL",
                "a token",
                "forward",
                "entropy",
                "tokens",
                "cut off",
                "right",
            ),
            *("steps", "moved"),
        ),
        rows=tuple(
            (
                str(item.round),
                count(item.answers),
                number(item.reverse_kl_per_response),
                decimal(item.reverse_kl_per_token, 3),
                decimal(item.forward_kl_per_token, 3),
                decimal(item.entropy_per_token, 3),
                number(item.tokens_mean),
                percent(item.cut_off_share),
                percent(item.accuracy),
                count(item.steps),
                decimal(item.kl_from_start, 3),
            )
            for item in rows
        ),
        note="Of the answers that the student gave at the round's start to training questions. Reverse KL: mean of "
        "log p_student − log p_teacher of an answer, in nats, and a token; forward: KL(teacher || student) at the "
        "answers' tokens, nats a token, at the round's first step; entropy: mean of −log p_student, nats a "
        "token; right: of answers that a verifier grades. Moved: largest estimate, at any step of the round, of the "
        "KL from the student of its start, nats a token.",
    )
