"""The plan of a recipe: what it will do and cost, what stands already, and all that is wrong with it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager, suppress
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
from dasd.pipeline.plan.disk_and_memory import check_disk, plan_memory
from dasd.pipeline.plan.drafts import Draft, read_draft
from dasd.pipeline.plan.engines import EnginesPlan
from dasd.pipeline.plan.lengths import Lengths
from dasd.pipeline.plan.measured import Measured, read_run
from dasd.pipeline.plan.questions import QuestionFacts, read_questions
from dasd.pipeline.plan.records import (
    UNKNOWN,
    Finding,
    Given,
    ModelPlan,
    ModelRole,
    RunPlan,
    StageCost,
    StagePlan,
)
from dasd.pipeline.plan.reuse import selected_lengths, stage_states
from dasd.pipeline.plan.work import WorkPlanner
from dasd.pipeline.runner import RUNS, Pipeline
from dasd.pipeline.stages.train import TrainStage
from dasd.pipeline.stages.train_round import TrainRoundStage
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry
from dasd.recipe.executor_settings import LOCAL
from dasd.recipe.model_settings import ModelSettings
from dasd.recipe.settings import EngineTimes, RecipeSettings

__all__ = ["plan_recipe"]

SLOW_SECONDS = 2.0


def plan_recipe(
    source: str | Path,
    overrides: Sequence[str] = (),
    plugins: Sequence[str] = (),
    directory: Path | None = None,
    given: Given | None = None,
) -> RunPlan:
    """Plan a recipe. Starts no engine, loads no weights, changes nothing, and asks no network but for questions.

    ``directory``: the run directory, by default the one that ``dasd pipeline`` would take. Everything that is
    wrong is in ``findings``; raises RecipeError only where there is no recipe to look into.
    """
    draft = read_draft(source, overrides, plugins)
    if draft.recipe is None:
        free, place = free_bytes(Path.cwd()), str(directory or "")
        return RunPlan(str(source), place, (), (), (), UNKNOWN, UNKNOWN, free, (), draft.findings)
    return _plan(draft, draft.recipe, directory, given or Given(), Console())


def _plan(draft: Draft, recipe: Recipe, directory: Path | None, given: Given, console: Console) -> RunPlan:
    settings, registry = recipe.settings, draft.registry
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
    loaded = _loaded(registry, settings)
    shared, found = check_tokenizers(teacher, student)
    findings += [*found, *check_lengths(settings, teacher, student, questions.benchmarks)]
    findings += [*check_logprobs(settings, registry), *check_environment(settings, registry, loaded)]
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
    costs = Costs(
        settings,
        given,
        measured,
        models["student"].parameters,
        student.facts.stored_bytes if student.facts is not None else None,
        _engines(registry, settings, lengths),
    )
    told = {finding.text for finding in findings}
    stages, found = _stages(recipe, registry, place, questions, taken, lengths, costs, student, told, console)
    findings += found
    here = questions.all_here and all(model.here for model in models.values())
    here = here and not (settings.data is not None and is_elsewhere(settings.data))
    memory, found = plan_memory(settings, models, loaded)
    free = free_bytes(place)
    findings += [*found, *check_disk(stages, free, place, certain=here)]
    wrong = {finding.key for finding in draft.findings if finding.level == "problem"}
    return RunPlan(
        name=settings.name,
        directory=str(place),
        stages=tuple(stages),
        models=tuple(models.values()),
        memory=memory,
        questions=questions.train,
        evaluation_questions=questions.evaluation,
        free_disk_bytes=free,
        assumptions=(*lengths.assumptions, *costs.assumptions, *_waiting(registry, settings)),
        # What was found about a wrong key was found with its default in its place.
        findings=tuple(f for f in dict.fromkeys(findings) if f.level == "problem" or f.key not in wrong),
    )


def _stages(
    recipe: Recipe,
    registry: Registry,
    place: Path,
    questions: QuestionFacts,
    taken: TakenFacts,
    lengths: Lengths,
    costs: Costs,
    student: RoleFacts,
    told: Set[str],
    console: Console,
) -> tuple[list[StagePlan], list[Finding]]:
    """Every stage with its state, work and cost; none where the graph can't be built, which is told elsewhere."""
    try:
        pipeline = Pipeline(recipe, registry, console=console)
    except DasdError as error:
        return [], [] if str(error) in told else [Finding("problem", "stages", str(error))]
    with _slow(console, "comparing the recipe with the run, which reads the models once"):
        states, findings = stage_states(pipeline, place)
    done = {
        name: lengths.measured.stages[name]
        for name, state in states.items()
        if state == "done" and name in lengths.measured.stages
    }
    try:
        selected = selected_lengths(place, states, student.chat)
    except DasdError as error:
        selected = {}
        findings = [*findings, Finding("warning", "--run", str(error))]
    planner = WorkPlanner(recipe.settings, questions, lengths, selected, taken)
    planned = []
    for number, stage in enumerate(pipeline.stages, start=1):
        finished = done.get(stage.name)
        work = planner.work(stage, finished)
        if finished is not None:
            cost = StageCost(0.0, 0.0, finished.disk_bytes, finished.disk_bytes)
        else:
            trainer = None
            if isinstance(stage, TrainStage | TrainRoundStage):
                trainer = recipe.settings.trainer_for(stage.stage)
            cost = costs.of(stage.kind, work, trainer)
        planned.append(StagePlan(number, stage.name, stage.kind, states.get(stage.name), work, cost))
    return planned, findings


def _waiting(registry: Registry, settings: RecipeSettings) -> list[str]:
    """Backends that aren't kept full."""
    waiting = []
    for role in ("teacher", "student"):
        model: ModelSettings = getattr(settings, role)
        with suppress(DasdError):  # told among the findings
            if (role == "student" or settings.asks_teacher) and not backend_of(
                registry, model, role
            ).concurrency:
                waiting.append(
                    f"{role}.backend {model.backend} takes lists: each unit of {settings.sampling.chunk} requests "
                    "(sampling.chunk) waits for its slowest answer"
                )
    return waiting


def _engines(registry: Registry, settings: RecipeSettings, lengths: Lengths) -> dict[ModelRole, EnginesPlan]:
    """Of the models whose engines the recipe describes, on backends that are here."""
    found: dict[ModelRole, EnginesPlan] = {}
    described: dict[ModelRole, EngineTimes | None] = {
        "teacher": settings.plan.teacher_engine,
        "student": settings.plan.student_engine,
    }
    for role, times in described.items():
        model: ModelSettings = getattr(settings, role)
        if times is not None:
            with suppress(DasdError):  # told among the findings
                backend = backend_of(registry, model, role)
                executor = settings.executor.executor  # `local` needs nobody's registration
                option = "" if executor == LOCAL else registry.component("executor", executor).engines
                prompts = lengths.prompts[role]
                prompt = round(prompts.mean) if prompts is not None else 0
                found[role] = EnginesPlan(settings, model, backend, times, settings.seed, option, prompt)
    return found


def _teacher_weights(registry: Registry, settings: RecipeSettings) -> bool:
    """Whether the teacher's backend loads its weights from here. One that isn't known is told of elsewhere."""
    if not settings.asks_teacher:
        return False
    try:
        return backend_of(registry, settings.teacher).runs_student
    except DasdError:
        return True


def _loaded(registry: Registry, settings: RecipeSettings) -> frozenset[ModelRole]:
    """The models that are loaded onto this machine's devices, as their backends say; none with another executor."""
    if settings.executor.executor != LOCAL:
        return frozenset()
    found: set[ModelRole] = set()
    roles: tuple[ModelRole, ...] = ("student",) if settings.data is not None else ("teacher", "student")
    for role in roles:
        with suppress(DasdError):  # told with the recipe
            if backend_of(registry, getattr(settings, role), role).loads_model:
                found.add(role)
    return frozenset(found)


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
    parameters = of.facts.parameters if of.facts is not None else None
    grounds = "the headers of its safetensors files" if parameters else "unknown"
    if role == "student" and given.student_parameters is not None:
        parameters, grounds = round(given.student_parameters), "--student-params"
    elif role == "student" and of.facts is None and settings.plan.student_params is not None:
        parameters, grounds = round(settings.plan.student_params), "plan.student_params"
    return ModelPlan(
        role=role,
        model=getattr(settings, role).model,
        here=of.facts is not None,
        parameters=parameters,
        context_length=of.facts.context_length if of.facts is not None else None,
        grounds=grounds,
    )


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
