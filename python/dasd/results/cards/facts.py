"""What a run says about its checkpoints and its data, for the cards."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl
import yaml

from dasd import results
from dasd.base.suggest import did_you_mean
from dasd.errors import InputError
from dasd.recipe.settings import RecipeSettings
from dasd.results.cards.names import hub_name, public, public_text
from dasd.results.report import gather, steps
from dasd.results.report.data import ModelFacts, ReportData
from dasd.store.origin import Origin, origin_of

if TYPE_CHECKING:
    from dasd.store import Manifest, Run

__all__ = ["Facts", "QuestionCount", "find_checkpoint", "gather_facts", "shown_model"]


@dataclass(frozen=True, slots=True)
class QuestionCount:
    """Training questions of one source and domain."""

    source: str
    domain: str
    questions: int


@dataclass(frozen=True, slots=True)
class Facts:
    """A run, read for a card."""

    name: str
    settings: RecipeSettings
    data: ReportData
    """Counts, selection and trainings; without figures, and of ``stages`` alone."""
    stages: tuple[str, ...]
    """Training stages that have part in what the card is of, in their order."""
    recipe: str
    """Resolved, as YAML, with paths cut to their last names."""
    scores: pl.DataFrame
    """``dasd.results.RESULTS`` rows over all domains; none where nothing was evaluated."""
    evaluations: tuple[results.Evaluation, ...]
    questions: tuple[QuestionCount, ...] = field(default=())
    origin: Origin | None = None
    """The run that selected the responses, where it is another one."""

    @property
    def answers_filtered(self) -> bool:
        """Whether answers that their question's verifier finds wrong were dropped."""
        return self.settings.filters.answer if self.origin is None else self.origin.answers_filtered

    @property
    def chosen_for(self) -> str:
        """The model that the responses were selected for, as a card calls it."""
        return shown_model(self.settings.student.model if self.origin is None else self.origin.student)

    def evaluation(self, checkpoint: str) -> results.Evaluation:
        """The answers of a checkpoint that was evaluated."""
        return next(item for item in self.evaluations if item.checkpoint == checkpoint)

    def model(self, role: str) -> ModelFacts:
        """Teacher or student."""
        return next(model for model in self.data.run.models if model.role == role)


def find_checkpoint(run: Run, name: str | None) -> Manifest:
    """The training stage of a checkpoint; None: the last one. Raises InputError."""
    trained = {stage.name.removeprefix("train-"): stage for stage in run.stages() if stage.kind == "train"}
    if not trained:
        raise InputError(f"{run.directory} has no finished training, so there is no checkpoint; run it first")
    if name is None:
        return list(trained.values())[-1]
    name = name.removeprefix("train-")
    if name not in trained:
        raise InputError(
            f"{run.directory} has no checkpoint {name!r}{did_you_mean(name, trained)} "
            f"Checkpoints: {', '.join(trained)}"
        )
    return trained[name]


def shown_model(model: str) -> str:
    """How a card calls a model: its name, or the name of its directory."""
    return model if hub_name(model) or model.startswith("dasd:") else str(public(model))


def gather_facts(run: Run, checkpoint: str | None = None) -> Facts:
    """The run's facts; with the name of a training stage, those of the stages up to it."""
    settings = run.settings
    names = [stage.name for stage in settings.stages]
    stages = tuple(names[: names.index(checkpoint) + 1] if checkpoint in names else names)
    checkpoints = gather.checkpoints(run)
    selections = tuple(item for item in steps.selections(run) if item.stage in stages)
    data = ReportData(
        run=gather.run_facts(run),
        checkpoints=checkpoints,
        selections=selections,
        flow=tuple(row for row in steps.flow(run) if row.stage in stages),
        trainings=tuple(item for item in gather.trainings(run) if item.stage in stages),
        distilled=None,
        figures=(),
        stages=gather.stage_times(run),
        warnings=tuple(public_text(warning) for warning in gather.warnings_of(run, checkpoints, selections)),
        notes=(),
    )
    evaluated = any(stage.kind == "evaluate" and stage.rows.get("eval") for stage in run.stages())
    evaluations = tuple(results.read(run)) if evaluated else ()
    asked = (
        run.frame("questions")
        .filter(pl.col("split") == "train")
        .group_by("source", "domain", maintain_order=True)
        .len()
        .collect()
    )
    return Facts(
        name=run.record.name,
        settings=settings,
        data=data,
        stages=stages,
        recipe=yaml.safe_dump(public(settings.model_dump(mode="json")), sort_keys=False, allow_unicode=True),
        scores=_scores(evaluations),
        evaluations=evaluations,
        questions=tuple(
            QuestionCount(public_text(source), domain, count) for source, domain, count in asked.iter_rows()
        ),
        origin=origin_of(run),
    )


def _scores(evaluations: tuple[results.Evaluation, ...]) -> pl.DataFrame:
    """Without pass@1 and majority@1, which say what avg@k says."""
    if not evaluations:
        return results.RESULTS.empty()
    return results.scores(evaluations).filter(~pl.col("metric").is_in(["pass@1", "majority@1"]))
