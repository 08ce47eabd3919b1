"""The numbers of a report, from a run directory: counts and summaries, read lazily."""

from __future__ import annotations

import polars as pl
from pydantic import JsonValue

from dasd.recipe.model_settings import ModelSettings
from dasd.recipe.training_settings import TrainerSettings
from dasd.results.report.data import (
    CheckpointFigures,
    MachineFacts,
    Metric,
    ModelFacts,
    OriginFacts,
    RunFacts,
    SelectionFigures,
    StageTime,
    TrainingFigures,
)
from dasd.results.report.numbers import finite, short
from dasd.results.report.rounds import training_of
from dasd.store import Manifest, Run
from dasd.store.origin import origin_of

__all__ = [
    "BEFORE",
    "TEACHER",
    "changes",
    "checkpoints",
    "run_facts",
    "stage_times",
    "trainings",
    "warnings_of",
    "what_is_trained",
]

BEFORE = "before"
TEACHER = "teacher"


def run_facts(run: Run) -> RunFacts:
    """Name, machine, versions, seed, models and the command."""
    record, settings = run.record, run.settings
    versions: dict[str, str] = {}
    for manifest in run.stages():
        versions |= manifest.versions
    origin = origin_of(run)
    plugins = f" --plugins {','.join(settings.plugins)}" if settings.plugins else ""
    return RunFacts(
        name=record.name,
        started=record.created,
        dasd_version=record.dasd_version,
        versions=versions,
        machine=MachineFacts(**record.machine.model_dump(), platform=record.platform),
        seed=record.seed,
        models=_models(run),
        origin=None if origin is None else OriginFacts(**origin.model_dump()),
        command=f"dasd pipeline recipe.yaml{plugins} --run runs/{record.name}-again",
    )


def _models(run: Run) -> tuple[ModelFacts, ...]:
    settings = run.settings
    asked: list[tuple[ModelSettings, str]] = [(settings.teacher, "sample"), (settings.student, "score")]
    facts = []
    for role, (model, kind) in zip(("teacher", "student"), asked, strict=True):
        rows = pl.DataFrame()
        revision = ""
        for manifest in run.stages():
            if manifest.kind != kind or rows.height:
                continue
            revision = revision or _content(manifest.settings.get(role))
            if "samples" in manifest.rows:
                samples = run.frame("samples", manifest.name).head(1)
                rows = samples.select(
                    "tokenizer_hash", "engine", "engine_version", "model_revision"
                ).collect()
        row: dict[str, str] = rows.row(0, named=True) if rows.height else {}
        facts.append(
            ModelFacts(
                role=role,
                model=model.model,
                backend=model.backend,
                revision=row.pop("model_revision", "") or revision,
                **row,
            )
        )
    return tuple(facts)


def _content(settings: JsonValue) -> str:
    """One word for what identifies a model's content in the settings of a stage, "" if nothing does."""
    content = settings.get("content") if isinstance(settings, dict) else None
    if isinstance(content, dict):
        return ", ".join(str(value) for value in content.values() if isinstance(value, str))
    return ""


def checkpoints(run: Run) -> tuple[CheckpointFigures, ...]:
    """Metrics by checkpoint: before, after each training in the recipe's order, others, the teacher last."""
    rows = run.frame("metrics").collect()
    order = [BEFORE, *(stage.name for stage in run.settings.stages)]
    found: dict[str, list[Metric]] = {}
    for row in rows.iter_rows(named=True):
        name = row.pop("checkpoint")
        row["value"], row["standard_error"] = finite(row["value"]), finite(row["standard_error"])
        found.setdefault(name, []).append(Metric(**row))
    others = [name for name in found if name not in (*order, TEACHER)]
    return tuple(
        CheckpointFigures(
            name=name,
            role="before" if name == BEFORE else "teacher" if name == TEACHER else "trained",
            metrics=tuple(found[name]),
        )
        for name in (*order, *others, TEACHER)
        if name in found
    )


def trainings(run: Run) -> tuple[TrainingFigures, ...]:
    """What each training did, from its losses."""
    found: dict[str, TrainingFigures] = {}
    for manifest in run.stages():
        if manifest.kind != "train" or "losses" not in manifest.rows:
            continue
        figures = (
            run.frame("losses", manifest.name)
            .select(
                steps=pl.col("step").max(),
                tokens=pl.col("tokens").max(),
                first=pl.col("loss").sort_by("step").first(),
                last=pl.col("loss").sort_by("step").last(),
            )
            .collect()
        )
        steps, tokens, first, last = figures.row(0)
        stage = training_of(run, manifest)
        before = found.get(stage)  # an earlier round
        found[stage] = TrainingFigures(
            stage=stage,
            trained=_trained(run, stage, manifest),
            steps=int(steps or 0) + (before.steps if before else 0),
            tokens=int(tokens or 0) + (before.tokens if before else 0),
            first_loss=before.first_loss if before else finite(first),
            last_loss=finite(last),
            seconds=manifest.seconds + (before.seconds if before else 0.0),
        )
    return tuple(found.values())


def _trained(run: Run, name: str, manifest: Manifest) -> str:
    stage = next((stage for stage in run.settings.stages if stage.name == name), None)
    size = manifest.summary.get("adapter_parameters")
    what = "all weights" if stage is None else what_is_trained(run.settings.trainer_for(stage))
    return f"{what}: {short(size)} parameters" if isinstance(size, int) else what


def what_is_trained(trainer: TrainerSettings) -> str:
    """In words: all weights, or an adapter of which rank and where."""
    if trainer.adapter is None:
        return "all weights"
    lora = trainer.lora
    where = ", ".join(lora.targets) or "all linear layers but the head"
    return f"LoRA of rank {lora.rank} (alpha {lora.alpha}) beside {where}"


def stage_times(run: Run) -> tuple[StageTime, ...]:
    """Working seconds of every finished stage."""
    return tuple(
        StageTime(stage=manifest.name, kind=manifest.kind, seconds=manifest.seconds)
        for manifest in run.stages()
    )


def warnings_of(
    run: Run, checkpoints: tuple[CheckpointFigures, ...], selections: tuple[SelectionFigures, ...]
) -> list[str]:
    """What a reader of the headline table must not overlook."""
    found = [
        f"{manifest.name}: nothing was left to train on, so its model is the one before it."
        for manifest in run.stages()
        if manifest.kind == "train" and manifest.summary.get("skipped") is True
    ]
    found += changes(checkpoints)
    return found + [f"Selection, {item.stage}: {warning}" for item in selections for warning in item.warnings]


def changes(checkpoints: tuple[CheckpointFigures, ...]) -> list[str]:
    """Whether the student got better from first to last."""
    found: list[str] = []
    students = [item for item in checkpoints if item.role != "teacher"]
    if len(students) < 2:
        return found
    before, last = students[0], students[-1]
    for benchmark in dict.fromkeys(metric.benchmark for metric in before.metrics):
        first = before.metric("accuracy", benchmark=benchmark)
        final = last.metric("accuracy", benchmark=benchmark)
        if first is None or final is None or first.value is None or final.value is None:
            continue
        error = ((first.standard_error or 0) ** 2 + (final.standard_error or 0) ** 2) ** 0.5
        change = f"from {first.value:.1%} before training to {final.value:.1%} after {last.name}"
        if final.value - first.value < -2 * error:
            found.append(f"{benchmark}: the accuracy fell {change}.")
        elif final.value - first.value < 2 * error:
            found.append(
                f"{benchmark}: the accuracy did not clearly grow: {change}, within two standard errors."
            )
    first, final = before.metric("kl_nats_per_response"), last.metric("kl_nats_per_response")
    if first and final and first.value is not None and final.value is not None and final.value > first.value:
        found.append(
            f"The KL to the teacher grew from {first.value:.3g} to {final.value:.3g} nats a response: the "
            "student moved away from the teacher on held-out questions."
        )
    return found
