"""The plan of a recipe: what it will do and cost, what stands already, and all that is wrong with it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import polars as pl

from dasd.base.files import free_bytes
from dasd.base.progress import Console
from dasd.base.schemas import QUESTIONS
from dasd.errors import DasdError
from dasd.models.pool import backend_of
from dasd.pipeline.plan.answers import check_answers
from dasd.pipeline.plan.checks import (
    RoleFacts,
    check_environment,
    check_lengths,
    check_logprobs,
    check_tokenizers,
    look_at,
)
from dasd.pipeline.plan.costs import Costs
from dasd.pipeline.plan.data import TakenFacts, is_elsewhere, look_at_data
from dasd.pipeline.plan.drafts import Draft, read_draft
from dasd.pipeline.plan.lengths import Lengths
from dasd.pipeline.plan.measured import Measured, read_run
from dasd.pipeline.plan.memory import sharing
from dasd.pipeline.plan.questions import QuestionFacts, read_questions
from dasd.pipeline.plan.rates import Rates
from dasd.pipeline.plan.records import UNKNOWN, Finding, Given, ModelPlan, ModelRole, RunPlan, StagePlan
from dasd.pipeline.plan.reuse import selected_lengths, stage_states
from dasd.pipeline.plan.room import check_disk, compare_memory, plan_memory
from dasd.pipeline.plan.work import WorkPlanner
from dasd.pipeline.runner import RUNS, Pipeline
from dasd.pipeline.stages.train import TrainStage
from dasd.pipeline.work.stage import Stage
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry
from dasd.recipe.settings import RecipeSettings
from dasd.recipe.training_settings import TrainerSettings

__all__ = ["plan_recipe"]

SLOW_SECONDS = 2.0


def plan_recipe(
    source: str | Path,
    overrides: Sequence[str] = (),
    plugins: Sequence[str] = (),
    directory: Path | None = None,
    given: Given | None = None,
    console: Console | None = None,
) -> RunPlan:
    """Plan a recipe. Starts no engine, loads no weights, changes nothing, and asks no network but for questions.

    ``directory``: the run directory, by default the one that ``dasd pipeline`` would take. Everything that is
    wrong is in ``findings``; raises RecipeError only where there is no recipe to look into.
    """
    given = given or Given()
    console = console or Console()
    draft = read_draft(source, overrides, plugins)
    if draft.recipe is None:
        name = str(source)
        return RunPlan(
            name,
            str(directory or ""),
            given.devices or 1,
            (),
            (),
            (),
            UNKNOWN,
            UNKNOWN,
            free_bytes(Path.cwd()),
            (),
            draft.findings,
        )
    return _plan(draft, draft.recipe, directory, given, console)


def _plan(draft: Draft, recipe: Recipe, directory: Path | None, given: Given, console: Console) -> RunPlan:
    settings, registry = recipe.settings, draft.registry
    given = replace(given, devices=given.devices or settings.plan.devices)
    place = directory if directory is not None else RUNS / settings.name
    findings = list(draft.findings)
    with _slow(console, "reading the run of `data`"):
        taken, found = look_at_data(recipe)
        findings += found
    with _slow(console, "reading the questions"):
        questions, found = read_questions(recipe, registry, with_data=not found)
        findings += [
            *found,
            *check_answers(recipe, registry, questions.rows, questions.benchmarks),
            *_files(settings),
        ]
    with _slow(console, "reading the models' files"):
        needed = _teacher_weights(registry, settings)
        teacher, found = look_at("teacher", settings, _split(questions, "train"), weights=needed)
        findings += found
        student, found = look_at("student", settings, questions.rows, weights=True)
        findings += found
    shared, found = check_tokenizers(teacher, student)
    findings += [*found, *check_lengths(settings, teacher, student, questions.benchmarks)]
    findings += [*check_logprobs(settings, registry), *check_environment(settings)]
    with _slow(console, f"reading the run in {place}"):
        measured, found = _measured(place)
        findings += found
    roles: dict[ModelRole, RoleFacts] = {"teacher": teacher, "student": student}
    models: dict[ModelRole, ModelPlan] = {
        role: _model(role, settings, of, given) for role, of in roles.items()
    }
    lengths = Lengths(
        settings,
        given,
        measured,
        {role: of.facts.context_length if of.facts else None for role, of in roles.items()},
        {role: of.lengths for role, of in roles.items()},
        shared,
    )
    rates = Rates(settings, given, measured, models)
    stages, found = _stages(draft, recipe, place, questions, taken, lengths, rates, student, console)
    findings += found
    facts = {role: of.facts.architecture if of.facts else None for role, of in roles.items()}
    caps = [each.how.max_tokens for each in questions.benchmarks]
    longest = max(caps, default=settings.evaluation.max_tokens)
    memory = plan_memory(settings, models, facts, lengths, given, longest)
    here = questions.all_here and all(model.here for model in models.values())
    here = here and not (settings.data is not None and is_elsewhere(settings.data))
    memory, found = compare_memory(settings, memory, models, given)
    free = free_bytes(place)
    findings += [*found, *check_disk(stages, free, place, certain=here and lengths.certain)]
    wrong = {finding.key for finding in draft.findings if finding.level == "problem"}
    return RunPlan(
        name=settings.name,
        directory=str(place),
        devices=given.devices,
        stages=tuple(stages),
        models=tuple(models.values()),
        memory=memory,
        questions=questions.train,
        evaluation_questions=questions.evaluation,
        free_disk_bytes=free,
        assumptions=(*lengths.assumptions, *rates.assumptions, *sharing(memory, given)),
        # What was found about a wrong key was found with its default in its place.
        findings=tuple(f for f in dict.fromkeys(findings) if f.level == "problem" or f.key not in wrong),
    )


def _stages(
    draft: Draft,
    recipe: Recipe,
    place: Path,
    questions: QuestionFacts,
    taken: TakenFacts,
    lengths: Lengths,
    rates: Rates,
    student: RoleFacts,
    console: Console,
) -> tuple[list[StagePlan], list[Finding]]:
    """Every stage with its state, work and cost; none where the graph can't be built, which is told elsewhere."""
    try:
        pipeline = Pipeline(recipe, draft.registry, console=console)
    except DasdError as error:
        known = {finding.text for finding in draft.findings}
        told = str(error) in known or not _new(error, recipe, draft.registry)
        return [], [] if told else [Finding("problem", "stages", str(error))]
    with _slow(console, "comparing the recipe with the run, which reads the models once"):
        states, findings = stage_states(pipeline, place)
    done = {
        name: rates.measured.stages[name]
        for name, state in states.items()
        if state == "done" and name in rates.measured.stages
    }
    try:
        selected = selected_lengths(place, states, student.prompts)
    except DasdError as error:
        selected = {}
        findings = [*findings, Finding("warning", "--run", str(error))]
    planner = WorkPlanner(
        recipe,
        questions.train,
        questions.evaluation,
        questions.benchmarks,
        questions.askable,
        lengths,
        selected,
        taken,
    )
    stored = student.facts.stored_bytes if student.facts is not None else None
    if stored is None and rates.models["student"].parameters is not None:
        stored = 2 * (rates.models["student"].parameters or 0)
    costs = Costs(rates, rates.measured, rates.models["student"], stored, recipe.settings.sampling.chunk)
    planned = []
    for number, stage in enumerate(pipeline.stages, start=1):
        finished = done.get(stage.name)
        work = planner.work(stage, finished)
        if finished is not None:
            cost = costs.done(finished)
        else:
            cost = costs.of(stage.kind, work, _trainer(recipe.settings, stage))
        planned.append(StagePlan(number, stage.name, stage.kind, states.get(stage.name), work, cost))
    return planned, findings


def _teacher_weights(registry: Registry, settings: RecipeSettings) -> bool:
    """Whether the teacher's backend loads its weights from here. One that isn't known is told of elsewhere."""
    if not settings.asks_teacher:
        return False
    try:
        return backend_of(registry, settings.teacher).runs_student
    except DasdError:
        return True


def _new(error: DasdError, recipe: Recipe, registry: Registry) -> bool:
    """Whether building the graph met something that looking at the models has not."""
    from dasd.models.files import check_model

    settings = recipe.settings
    for of, weights in (
        (settings.teacher, _teacher_weights(registry, settings)),
        (settings.student, True),
    ):
        try:
            check_model(of, weights=weights)
        except DasdError as known:
            if str(known) == str(error):
                return False
    return True


def _trainer(settings: RecipeSettings, stage: Stage) -> TrainerSettings | None:
    return settings.trainer_for(stage.stage) if isinstance(stage, TrainStage) else None


def _measured(place: Path) -> tuple[Measured, list[Finding]]:
    try:
        return read_run(place), []
    except DasdError as error:
        return Measured(), [Finding("problem", "--run", str(error))]


def _files(settings: RecipeSettings) -> list[Finding]:
    """Files of responses that stages name."""
    found = []
    for index, stage in enumerate(settings.stages):
        for path in getattr(stage, "samples", ()):
            if not Path(path).is_file():
                text = f"{path}: no such response file; wanted a .jsonl or .parquet file"
                found.append(Finding("problem", f"stages.{index}.samples", text))
    return found


def _split(questions: QuestionFacts, split: str) -> pl.DataFrame:
    return questions.rows.filter(pl.col("split") == split) if questions.rows.height else QUESTIONS.empty()


def _model(role: ModelRole, settings: RecipeSettings, of: RoleFacts, given: Given) -> ModelPlan:
    option, active = (
        (given.teacher_parameters, given.teacher_active)
        if role == "teacher"
        else (given.student_parameters, given.student_active)
    )
    facts, hints = of.facts, settings.plan
    parameters = option
    if facts is None:
        parameters = option or getattr(hints, f"{role}_params")
        active = active or getattr(hints, f"{role}_active")
    plan = ModelPlan(
        role=role,
        model=getattr(settings, role).model,
        here=facts is not None,
        parameters=facts.parameters if facts else None,
        active_parameters=facts.active_parameters if facts else None,
        context_length=facts.context_length if facts else None,
        grounds="the headers of its safetensors files" if facts and facts.parameters else "unknown",
    )
    if parameters is not None:
        plan = replace(
            plan,
            parameters=round(parameters),
            active_parameters=round(active or parameters),
            grounds=f"--{role}-params" if option else f"plan.{role}_params",
        )
    elif active is not None:
        plan = replace(plan, active_parameters=round(active))
    return plan


@contextmanager
def _slow(console: Console, text: str) -> Iterator[None]:
    """Say on stderr what takes long, once it does."""
    timer = threading.Timer(SLOW_SECONDS, console.info, (f"plan: {text} ...",))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
