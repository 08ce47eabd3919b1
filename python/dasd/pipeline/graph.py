"""The stages of a recipe, in the order in which they run."""

from __future__ import annotations

from dasd.errors import RecipeError
from dasd.models.files import check_model
from dasd.models.pool import backend_of
from dasd.models.tokens.chat import ChatTokenizer
from dasd.pipeline.from_run_graph import taken_heldout, taken_stages
from dasd.pipeline.stages.asking import has_own
from dasd.pipeline.stages.dedup import DedupStage
from dasd.pipeline.stages.evaluate import EvaluateStage
from dasd.pipeline.stages.filter import FilterStage
from dasd.pipeline.stages.from_files import GivenSamplesStage
from dasd.pipeline.stages.from_run import TakenMixStage
from dasd.pipeline.stages.mix import MixStage
from dasd.pipeline.stages.questions import QuestionsStage
from dasd.pipeline.stages.quotas import ANY, question_limits
from dasd.pipeline.stages.rollout import RolloutStage
from dasd.pipeline.stages.sample import SampleStage
from dasd.pipeline.stages.score import ScoreStage
from dasd.pipeline.stages.select import SelectStage
from dasd.pipeline.stages.source_run import HELDOUT
from dasd.pipeline.stages.train import TrainStage
from dasd.pipeline.stages.train_round import TrainRoundStage
from dasd.pipeline.work.stage import Stage
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry
from dasd.recipe.stage_settings import MixedPolicyStage, OffPolicyStage, OnPolicyStage

__all__ = ["build_graph"]

RESERVED = ("before", "heldout", "teacher")


def build_graph(recipe: Recipe, registry: Registry) -> list[Stage]:
    """Every stage that the recipe asks for; each comes after those that it needs.

    All that needs the teacher alone comes first, then what needs the student before distillation, then the
    trainings, so that engines change as seldom as they can. With ``data`` the responses are another run's, and no
    teacher is asked. Without evaluation questions there is no evaluation; a recipe that trains nothing evaluates the
    student as it is and asks no teacher. Raises RecipeError for a stage's name that is taken, InputError for a model
    directory that can't be used.
    """
    _check(recipe)
    teacher = recipe.settings.teacher
    # A backend that can't run a student loads no directory's weights: a server, or recordings.
    if recipe.settings.stages:
        weights = recipe.settings.asks_teacher and backend_of(registry, teacher).runs_student
        check_model(teacher, weights=weights)
    check_model(recipe.settings.student)
    _check_vocabularies(recipe)
    if recipe.settings.data is not None:
        heldout = taken_heldout(recipe)
        stages: list[Stage] = [QuestionsStage(recipe, registry), *taken_stages(recipe)]
    else:
        compares = (
            recipe.settings.stages and recipe.settings.questions.eval and recipe.settings.evaluation.heldout
        )
        heldout = HELDOUT if compares else None
        stages = [QuestionsStage(recipe, registry), *_own_responses(recipe, registry, heldout)]
    if recipe.settings.questions.eval:
        stages.append(EvaluateStage(recipe, registry, "before", train=None, heldout=heldout))
    stages += _trainings(recipe, registry, heldout)
    # The one stage that draws figures: its libraries are loaded when a graph is built, not before.
    from dasd.pipeline.stages.report import ReportStage

    stages.append(ReportStage(recipe, registry, tuple(stage.name for stage in stages)))
    return stages


def _own_responses(recipe: Recipe, registry: Registry, heldout: str | None) -> list[Stage]:
    """Sampling, filters, deduplication, scores and selection of every off-policy stage."""
    off_policy = [stage for stage in recipe.settings.stages if isinstance(stage, OffPolicyStage)]
    stages: list[Stage] = []
    stages += [_sample(recipe, registry, stage) for stage in off_policy]
    if heldout:
        stages.append(_heldout(recipe, registry))
    stages += [
        FilterStage(
            recipe,
            registry,
            name=f"filter-{stage.name}",
            samples=f"sample-{stage.name}",
            max_length=recipe.settings.trainer_for(stage).max_length,
        )
        for stage in off_policy
    ]
    stages += [
        DedupStage(
            recipe,
            registry,
            name=f"dedup-{stage.name}",
            samples=f"sample-{stage.name}",
            filter=f"filter-{stage.name}",
        )
        for stage in off_policy
    ]
    stages += [
        ScoreStage(
            recipe,
            registry,
            name=f"score-{stage.name}",
            samples=f"sample-{stage.name}",
            dedup=f"dedup-{stage.name}",
        )
        for stage in off_policy
    ]
    stages += [
        SelectStage(
            recipe,
            registry,
            name=f"select-{stage.name}",
            stage=stage,
            samples=f"sample-{stage.name}",
            dedup=f"dedup-{stage.name}",
            scores=f"score-{stage.name}",
        )
        for stage in off_policy
    ]
    return stages


def _sample(recipe: Recipe, registry: Registry, stage: OffPolicyStage) -> Stage:
    if stage.samples:
        return GivenSamplesStage(recipe, registry, f"sample-{stage.name}", stage)
    sampling = recipe.settings.sampling_for(stage)
    return SampleStage(
        recipe,
        registry,
        name=f"sample-{stage.name}",
        split="train",
        temperature=stage.temperature,
        top_p=sampling.top_p,
        candidates=sampling.candidates,
        max_tokens=sampling.max_tokens,
        bounds=question_limits(stage, recipe.settings.select_for(stage).per_question),
        asks=stage.name if has_own(recipe.settings) else None,
    )


def _heldout(recipe: Recipe, registry: Registry) -> SampleStage:
    """At temperature 1 without a nucleus, responses are draws from the teacher itself, as the KL wants."""
    return SampleStage(
        recipe,
        registry,
        name=HELDOUT,
        split="eval",
        temperature=1.0,
        top_p=1.0,
        candidates=1,
        max_tokens=recipe.settings.sampling.max_tokens,
        bounds={ANY: recipe.settings.evaluation.heldout},
    )


def _trainings(recipe: Recipe, registry: Registry, heldout: str | None) -> list[Stage]:
    stages: list[Stage] = []
    previous: str | None = None
    source = ""
    for number, stage in enumerate(recipe.settings.stages, 1):
        mix = None
        if isinstance(stage, OnPolicyStage):
            stages += _rounds(recipe, registry, stage, number, source, previous, heldout)
            previous = f"train-{stage.name}"
            continue
        if isinstance(stage, OffPolicyStage):
            source = stage.name
        else:
            mixing: Stage = _mix(recipe, registry, stage, source, previous)
            stages.append(mixing)
            mix = mixing.name
        training = TrainStage(
            recipe,
            registry,
            stage,
            number,
            samples=f"sample-{source}",
            select=f"select-{source}",
            mix=mix,
            previous=previous,
        )
        stages.append(training)
        previous = training.name
        if recipe.settings.questions.eval:
            stages.append(EvaluateStage(recipe, registry, stage.name, train=training.name, heldout=heldout))
    return stages


def _rounds(
    recipe: Recipe,
    registry: Registry,
    stage: OnPolicyStage,
    number: int,
    source: str,
    previous: str | None,
    heldout: str | None,
) -> list[Stage]:
    """Answers and a training for each round. ``source``: the off-policy stage before; ``previous``: the training."""
    stages: list[Stage] = []
    given = (f"sample-{source}", f"select-{source}") if stage.off_policy_share else ()
    for each in range(1, stage.rounds + 1):
        rollout = RolloutStage(recipe, registry, stage, each, previous)
        training = TrainRoundStage(rollout, number, *given)
        stages += [rollout, training]
        previous = training.name
        if recipe.settings.questions.eval and (stage.evaluate_rounds or each == stage.rounds):
            checkpoint = stage.round_name(each)
            stages.append(EvaluateStage(recipe, registry, checkpoint, train=training.name, heldout=heldout))
    return stages


def _mix(
    recipe: Recipe, registry: Registry, stage: MixedPolicyStage, source: str, previous: str | None
) -> Stage:
    """``source``: the off-policy stage before; ``previous``: the training before."""
    if recipe.settings.data is not None:
        return TakenMixStage(recipe, stage)
    return MixStage(
        recipe,
        registry,
        stage,
        samples=f"sample-{source}",
        select=f"select-{source}",
        scores=f"score-{source}",
        previous=previous,
    )


def _check_vocabularies(recipe: Recipe) -> None:
    """RecipeError for a loss over the teacher's distribution where the student's tokens are others."""
    settings = recipe.settings
    dense = [stage for stage in settings.on_policy if stage.loss != "sampled-reverse-kl"]
    if not dense:
        return
    teacher, student = (ChatTokenizer.load(model) for model in (settings.teacher, settings.student))
    if teacher.vocabulary_hash != student.vocabulary_hash:
        raise RecipeError(
            f"stages.{dense[0].name}.loss: {dense[0].loss} compares distributions over the same tokens, and the "
            f"tokenizers of {settings.teacher.model} and {settings.student.model} differ; set it to "
            "sampled-reverse-kl, which compares spans of text"
        )


def _check(recipe: Recipe) -> None:
    """Names that mean something else in the stages and metrics of a run."""
    for index, stage in enumerate(recipe.settings.stages):
        if stage.name in RESERVED:
            raise RecipeError(
                f"stages.{index}.name: {stage.name!r} means something else in a run; wanted another name"
            )
