"""Another run, read: what of it the trainings of this recipe train on (recipe key ``data``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from dasd.base.drawn_ids import drawn_ids
from dasd.base.frames import kept_samples, kept_set, only
from dasd.base.id_set import IdSet
from dasd.base.suggest import did_you_mean
from dasd.errors import InputError
from dasd.models.files import model_fingerprint
from dasd.plugins.recipe import Recipe
from dasd.recipe.settings import RecipeSettings
from dasd.recipe.stage_settings import OffPolicyStage, OnPolicyStage, TrainingStage
from dasd.store import Manifest, Run
from dasd.store.directory import RUN
from dasd.store.origin import Origin, origin_of

__all__ = ["HELDOUT", "SourceRun", "has_heldout"]

HELDOUT = "sample-heldout"
"""Stage of the teacher's responses to evaluation questions."""


def has_heldout(settings: RecipeSettings) -> bool:
    """Whether the other run holds held-out responses of the teacher; taken for granted while it isn't there."""
    assert settings.data is not None
    directory = Path(settings.data.run)
    if not (directory / RUN).is_file():
        return True
    return any(manifest.name == HELDOUT for manifest in Run.open(directory).stages())


@dataclass(frozen=True, slots=True)
class SourceRun:
    """The run that ``data`` names. Nothing is ever written to it."""

    recipe: Recipe
    run: Run
    settings: RecipeSettings
    """Its own."""
    manifests: dict[str, Manifest]
    """Its finished stages by name."""

    @classmethod
    def open(cls, recipe: Recipe) -> SourceRun:
        """Read the run and check that it holds all that the recipe takes.

        Raises InputError where it isn't there, lacks a stage, or was made by another teacher or at another
        temperature than the recipe says; StoreError where it is damaged.
        """
        data = recipe.settings.data
        assert data is not None
        try:
            run = Run.open(data.run)
        except InputError as error:
            raise InputError(f"data.run: {error}") from error
        found = cls(recipe, run, run.settings, {manifest.name: manifest for manifest in run.stages()})
        for stage in found.stages:
            found._check(stage)
        return found

    @property
    def stages(self) -> list[TrainingStage]:
        """This recipe's trainings on responses of another run; what an on-policy one trains on is this run's."""
        return [stage for stage in self.recipe.settings.stages if not isinstance(stage, OnPolicyStage)]

    # -- what is taken -----------------------------------------------------------------------------

    def samples(self, stage: TrainingStage) -> str:
        """Its stage with the responses of this recipe's training ``stage``."""
        return f"{'sample' if isinstance(stage, OffPolicyStage) else 'mix'}-{self._name(stage)}"

    def verdicts(self, stage: TrainingStage) -> str:
        """Its stage that says which of them it trained on."""
        return f"{'select' if isinstance(stage, OffPolicyStage) else 'mix'}-{self._name(stage)}"

    def taken(self, stage: TrainingStage) -> IdSet:
        """The responses that ``stage`` takes: those selected, or ``total`` of them by the seed."""
        verdicts = self.run.frame("verdicts", self.verdicts(stage))
        most = stage.total if isinstance(stage, OffPolicyStage) else None
        if most is None:
            return kept_set(verdicts)
        return drawn_ids(kept_samples(verdicts), most, "total", self.recipe.settings.seed)

    def questions(self) -> pl.DataFrame:
        """Its training questions that a taken response answers, without the system prompt of its recipe;
        and column ``place``, null.

        Raises StoreError naming a file that was torn or altered.
        """
        stages = self.stages
        read = (name for stage in stages for name in ("questions", self.samples(stage), self.verdicts(stage)))
        self.run.verify(*dict.fromkeys(read))
        asked: set[str] = set()
        for stage in stages:
            taken = self.taken(stage)
            samples = self.run.frame("samples", self.samples(stage)).select("sample_id", "question_id")
            for rows in samples.collect_batches():
                asked.update(only(rows, taken).get_column("question_id"))
        own = self.run.frame("questions", "questions").filter(pl.col("split") == "train").collect()
        kept = own.filter(pl.Series([item in asked for item in own["question_id"]], dtype=pl.Boolean))
        return self._unprompted(kept).with_columns(place=pl.lit(None, pl.String))

    def heldout(self, evaluation: pl.DataFrame, most: int) -> IdSet:
        """The teacher's responses to questions that are among ``evaluation`` word for word.

        ``evaluation``: QUESTIONS of this run; ``most``: at most so many questions, the first ones.
        """
        answers = self.run.frame("samples", HELDOUT)
        answered = answers.select("question_id").unique().collect()
        rows = self.run.frame("questions", "questions").filter(pl.col("split") == "eval").collect()
        theirs = self._unprompted(rows.join(answered, on="question_id", how="semi"))
        own = _unprompted(evaluation, self.recipe.settings.questions.system_prompt)
        columns = ["question_id", "messages"]
        shared = own.select(columns).join(
            theirs.select(columns), on=columns, how="semi", maintain_order="left"
        )
        asked = shared.head(most).get_column("question_id")
        found = answers.filter(pl.col("question_id").is_in(asked.implode())).select("sample_id")
        return IdSet([found.collect().to_series()])

    # -- what is told of it ------------------------------------------------------------------------

    def contents(self, *stages: str) -> dict[str, str]:
        """Digest of what each of its ``stages`` wrote: a changed run is noticed by it."""
        return {name: self._manifest(name).content() for name in stages}

    def origin(self) -> Origin:
        """Who selected the responses, and for whom."""
        earlier = origin_of(self.run)
        settings = self.settings
        stages = self.stages
        read = dict.fromkeys(
            name for stage in stages for name in ("questions", self.samples(stage), self.verdicts(stage))
        )
        return Origin(
            run=self.run.record.name,
            created=self.run.record.created,
            selected_in=earlier.selected_in if earlier else self.run.record.name,
            student=earlier.student if earlier else settings.student.model,
            selector=earlier.selector if earlier else settings.select.selector,
            beta=earlier.beta if earlier else settings.select.beta,
            structure=earlier.structure if earlier else settings.filters.structure,
            answers_filtered=earlier.answers_filtered if earlier else settings.filters.answer,
            stages={stage.name: self._name(stage) for stage in stages},
            contents=self.contents(*read),
        )

    # -- checks ------------------------------------------------------------------------------------

    def _name(self, stage: TrainingStage) -> str:
        assert self.recipe.settings.data is not None
        return self.recipe.settings.data.stage(stage.name)

    def _unprompted(self, questions: pl.DataFrame) -> pl.DataFrame:
        return _unprompted(questions, self.settings.questions.system_prompt)

    def _manifest(self, name: str) -> Manifest:
        if name not in self.manifests:
            raise InputError(
                f"data.run: stage {name} of {self.run.directory} is not done; finish that run first "
                f"(`dasd pipeline {self.run.directory / 'recipe.yaml'} --run {self.run.directory}`)"
            )
        return self.manifests[name]

    def _check(self, stage: TrainingStage) -> None:
        wanted = self._name(stage)
        known = {each.name: each for each in self.settings.stages}
        if wanted not in known:
            raise InputError(
                f"data.run: {self.run.directory} has no training stage {wanted!r}{did_you_mean(wanted, known)} "
                f"Its stages: {', '.join(known) or 'none'}; where names differ give data.stages.{stage.name}"
            )
        theirs = known[wanted]
        if theirs.kind != stage.kind:
            raise InputError(
                f"stages.{stage.name}: is {stage.kind}, and stage {wanted!r} of {self.run.directory} is {theirs.kind}"
            )
        if theirs.temperature != stage.temperature:
            raise InputError(
                f"stages.{stage.name}.temperature: is {stage.temperature:g}, and {self.run.directory} sampled its "
                f"stage {wanted!r} at {theirs.temperature:g}; say that"
            )
        self._check_standing("questions", self.samples(stage), self.verdicts(stage))
        self._check_teacher(self.samples(stage))

    def _check_standing(self, *stages: str) -> None:
        """InputError for a stage that isn't done, or was made from another result than the run holds now."""
        for name in stages:
            manifest = self._manifest(name)
            for need, content in manifest.inputs.items():
                if need in self.manifests and self.manifests[need].content() != content:
                    raise InputError(
                        f"data.run: stage {name} of {self.run.directory} is out of date: {need} was made again since; "
                        "finish that run first"
                    )

    def _check_teacher(self, samples: str) -> None:
        """InputError unless this recipe's teacher wrote the responses: its chat template says how they read."""
        known = self._manifest(samples).settings.get("teacher")
        teacher = self.recipe.settings.teacher
        if not isinstance(known, dict) or known.get("model") == model_fingerprint(teacher):
            return
        raise InputError(
            f"teacher.model: {self.settings.teacher.model} wrote the responses of {self.run.directory}, and "
            f"{teacher.model} is another model, or another revision or state of it; name the one that wrote them"
        )


def _unprompted(questions: pl.DataFrame, prompt: str | None) -> pl.DataFrame:
    """Conversations without the system prompt that a recipe put before them."""
    cells: list[Sequence[dict[str, str]]] = []
    for turns in questions.get_column("messages").to_list():
        own = bool(turns) and turns[0]["role"] == "system" and turns[0]["content"] == prompt
        cells.append(turns[1:] if own else turns)
    return questions.with_columns(pl.Series("messages", cells, dtype=questions.schema["messages"]))
