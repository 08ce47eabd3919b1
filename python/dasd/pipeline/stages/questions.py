"""Stage ``questions``: reads the sources, sets aside what can't be used, writes both splits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import ClassVar

import polars as pl
from pydantic import JsonValue

from dasd.base.records import SetAside
from dasd.base.schemas import PLACES, QUESTIONS
from dasd.errors import InputError
from dasd.evaluation.terms import grades_by_verifier, terms_of
from dasd.pipeline.stages import asking
from dasd.pipeline.stages.decontamination import benchmark_questions
from dasd.pipeline.stages.question_checks import (
    Sieve,
    answerable,
    distinct,
    usable,
    with_system_prompt,
    without_repeats,
)
from dasd.pipeline.stages.source_run import SourceRun
from dasd.pipeline.work import fingerprints
from dasd.pipeline.work.context_room import LEAST_ROOM, PromptsOf, prompts_of
from dasd.pipeline.work.loaded_files import report_loaded
from dasd.pipeline.work.question_sources import SourceRead, load_source, report_set_aside
from dasd.pipeline.work.stage import StageContext
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry
from dasd.recipe.question_settings import QuestionsSettings
from dasd.recipe.verifier_settings import VerifierSettings
from dasd.store.origin import ORIGIN

__all__ = ["QuestionsStage"]

SET_ASIDE_FILE = "set-aside-questions.jsonl"
_WORDS = {
    "exact_duplicate": "the same as an earlier one",
    "evaluation_question": "evaluation questions too",
    "contaminated": "overlap with benchmark questions",
    "near_duplicate": "nearly the same as an earlier one",
    "unknown_verifier": "with a verifier that isn't there or can't be used",
    "unreadable_answer": "with an answer that can't be read",
    "no_room": "too long for a model's context",
    "id_taken": "with the id of another one",
    "refused": "refused by a chat template",
}


@dataclass(frozen=True, slots=True)
class QuestionsStage:
    """Writes QUESTIONS, with the recipe's system prompt before every conversation that has none."""

    recipe: Recipe
    registry: Registry
    name: str = "questions"
    prompts: PromptsOf = prompts_of
    """How prompts are counted; planning reads the models' files alone."""
    kind: str = field(default="questions", init=False)
    frame: ClassVar[str] = "questions"
    passes_on: ClassVar[str | None] = None
    needs: tuple[str, ...] = field(default=(), init=False)

    def settings(self) -> Mapping[str, JsonValue]:
        """Section ``questions``, what of ``dedup`` is about questions, contents of files, versions of sources, seed."""
        settings = self.recipe.settings
        section, dedup = settings.questions, settings.dedup
        kept = {"near_questions", "ngram", "contamination", "contamination_ngram"}
        own: dict[str, JsonValue] = {
            name: [fingerprints.source_settings(source, self.registry) for source in sources]
            for name, sources in asking.pools(self.recipe.settings).items()
            if name != asking.COMMON
        }
        return {
            "system_prompt": section.system_prompt,
            "train": self._train_settings(),
            "eval": [fingerprints.source_settings(source, self.registry) for source in section.eval],
            "dedup": dedup.model_dump(mode="json", include=kept),
            "against": [fingerprints.source_settings(source, self.registry) for source in dedup.against],
            "seed": settings.seed,
            **({"stages": own} if own else {}),
            "room": min(settings.sampling.max_tokens, LEAST_ROOM),
            # Neither the student nor its evaluation: another one doesn't want all to be sampled again. What it
            # can't read is set aside where it reads it.
            "teacher": fingerprints.model_settings(settings.teacher) if self._samples else None,
        }

    @property
    def _samples(self) -> bool:
        """Whether the teacher is asked."""
        return self.recipe.settings.data is None and any(
            not getattr(stage, "samples", ()) for stage in self.recipe.settings.stages
        )

    def run(self, context: StageContext) -> None:
        """Read every source; training questions that repeat one another or a benchmark's are set aside."""
        settings = self.recipe.settings
        section = settings.questions
        other = SourceRun.open(self.recipe) if settings.data is not None else None
        of_pools = {
            name: [load_source(self.registry, source, "train", settings.seed) for source in sources]
            if other is None
            else [SourceRead(other.questions(), (), None)]
            for name, sources in asking.pools(settings).items()
        }
        of_eval = [load_source(self.registry, source, "eval", settings.seed) for source in section.eval]
        read = [*chain(*of_pools.values()), *of_eval]
        labels = _labels([each.questions for each in of_eval])
        sieve = Sieve()
        graded = {
            label
            for label, number in labels.items()
            if grades_by_verifier(
                terms_of(section.eval[number], settings.evaluation, self.registry).evaluator,
                self.registry,
            )
        }
        pools = {
            name: distinct(usable(_rows(each), self.registry, (), sieve), "split", sieve)
            for name, each in of_pools.items()
        }
        # A benchmark stays whole, whatever else is evaluated.
        benchmark_rows = distinct(_rows(of_eval), "source", sieve)
        evaluation = usable(benchmark_rows, self.registry, graded, sieve)
        benchmarks, unusable = benchmark_questions(self.recipe, self.registry, benchmark_rows)
        train = without_repeats(asking.merged(pools), benchmark_rows, benchmarks, settings.dedup, sieve)
        train, evaluation = self._answerable(train, evaluation, sieve)
        _refuse_empty(section, train, evaluation, sieve)
        both, renamed = _unique_ids(pl.concat([train, evaluation]), sieve)
        places = both.select(list(PLACES.columns)).drop_nulls()
        both = both.select(list(QUESTIONS.columns))
        train, evaluation = (both.filter(pl.col("split") == split) for split in ("train", "eval"))
        asked = asking.asked(settings, pools, train)
        asking.check_asked(settings, asked, train)
        both = with_system_prompt(both, section.system_prompt)
        context.writer.append("questions", both, key="all")
        if asking.has_own(settings):
            context.writer.append("asked", asked, key="all")
        if places.height:
            context.writer.append("places", places, key="all")
        if sieve.rows.height:
            context.writer.append(
                "set_aside", with_system_prompt(sieve.rows, section.system_prompt), key="all"
            )
        context.writer.finish_unit("all")
        set_aside = _once(rows for each in read for rows in each.set_aside)
        set_aside = _once([*set_aside, *unusable])
        report_set_aside(context, set_aside, SET_ASIDE_FILE, list(_lines(sieve.rows)))
        report_loaded(context, [each.loaded for each in read if each.loaded is not None])
        _tell(context, sieve)
        if other is not None:
            context.writer.summarise({ORIGIN: other.origin().model_dump(mode="json")})
        context.writer.summarise(
            {
                "train": train.height,
                "eval": evaluation.height,
                "benchmarks": dict(labels),
                "set_aside": sum(len(each.rows) for each in set_aside),
                "dropped": dict(sieve.counts()),
                "renamed": renamed,
                "domains": {str(name): int(n) for name, n in both.get_column("domain").value_counts().rows()},
                "verifiers": _verifiers(both),
                "with_verifier": int(both.get_column("verifier").is_not_null().sum()),
            }
        )

    def _train_settings(self) -> JsonValue:
        """The sources, or with ``data`` what was read of the other run."""
        if self.recipe.settings.data is None:
            sources = self.recipe.settings.questions.train
            return [fingerprints.source_settings(source, self.registry) for source in sources]
        origin = SourceRun.open(self.recipe).origin()
        totals: JsonValue = [getattr(stage, "total", None) for stage in self.recipe.settings.stages]
        return {"contents": {**origin.contents}, "stages": {**origin.stages}, "totals": totals}

    def _answerable(
        self, train: pl.DataFrame, evaluation: pl.DataFrame, sieve: Sieve
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Both splits without what has no room in a context: the student's, and of training the teacher's too."""
        settings = self.recipe.settings
        system = settings.questions.system_prompt
        student = self.prompts(settings.student)
        caps = (settings.sampling.max_tokens, settings.evaluation.max_tokens)
        if self._samples:
            train = answerable(train, "teacher", self.prompts(settings.teacher), caps[0], system, sieve)
        train = answerable(train, "student", student, caps[0], system, sieve)
        return train, answerable(evaluation, "student", student, caps[1], system, sieve)


def _rows(read: Sequence[SourceRead]) -> pl.DataFrame:
    """Questions of several sources, with column ``place``."""
    empty = QUESTIONS.empty().with_columns(place=pl.lit(None, pl.String))
    return pl.concat([empty, *(each.questions for each in read)])


def _once(found: Iterable[SetAside]) -> list[SetAside]:
    """One file may serve both splits; its bad rows are told of once."""
    return list({(str(each.path), each.rows): each for each in reversed(list(found))}.values())[::-1]


def _lines(rows: pl.DataFrame) -> Iterator[dict[str, JsonValue]]:
    for row in rows.drop("messages").iter_rows(named=True):
        yield {name: value for name, value in row.items() if value is not None}


def _tell(context: StageContext, sieve: Sieve) -> None:
    counts = sieve.counts("train")
    if counts:
        reasons = ", ".join(f"{number} {_WORDS[reason]}" for reason, number in counts.items())
        context.console.warn(
            f"{sum(counts.values())} training questions are set aside before sampling: {reasons}; each with the "
            f"reason: {SET_ASIDE_FILE} in the run directory"
        )
    bad = sieve.rows.filter((pl.col("split") == "eval") & (pl.col("reason") != "exact_duplicate"))
    for (source,), rows in bad.group_by("source", maintain_order=True):
        context.console.warn(
            f"benchmark {source} is NOT WHOLE: {rows.height} of its questions are set aside, the first is "
            f"{rows['place'][0] or 'question ' + rows['question_id'][0]} ({rows['detail'][0]}); "
            f"its figures compare with no one else's; all of them: {SET_ASIDE_FILE} in the run directory"
        )


def _labels(frames: Sequence[pl.DataFrame]) -> dict[str, int]:
    """Label of each benchmark -> number of its source in ``questions.eval``; InputError for one that two have."""
    labels: dict[str, int] = {}
    for number, frame in enumerate(frames):
        for label in frame.get_column("source").unique(maintain_order=True):
            if label in labels:
                raise InputError(
                    f"questions.eval: sources {labels[label]} and {number} are both called {label!r}, and figures "
                    "are by that name; give one of them another `name`"
                )
            labels[label] = number
    return labels


def _verifiers(questions: pl.DataFrame) -> dict[str, JsonValue]:
    """Split -> names of the verifiers that its questions with an answer name."""
    graded = questions.filter(pl.col("answer").is_not_null() & pl.col("verifier").is_not_null())
    found: dict[str, JsonValue] = {}
    for split in ("train", "eval"):
        named = graded.filter(pl.col("split") == split).get_column("verifier").unique()
        found[split] = sorted({VerifierSettings.of(verifier).name for verifier in named})  # type: ignore[assignment]
    return found


def _unique_ids(rows: pl.DataFrame, sieve: Sieve) -> tuple[pl.DataFrame, int]:
    """Ids that an earlier source uses too get their split and source before them; and how many did.

    What is still the same then is set aside: an id stands for one question.
    """
    taken = ~rows.get_column("question_id").is_first_distinct()
    longer = pl.concat_str("split", "source", "question_id", separator=":")
    renamed = rows.with_columns(question_id=pl.when(taken).then(longer).otherwise("question_id"))
    again = (~renamed.get_column("question_id").is_first_distinct()).arg_true()
    details = {row: f"another question has the id {rows['question_id'][row]!r}" for row in again}
    return sieve.take(renamed, "id_taken", details), int(taken.sum()) - len(details)


def _refuse_empty(
    section: QuestionsSettings, train: pl.DataFrame, evaluation: pl.DataFrame, sieve: Sieve
) -> None:
    if section.train and not train.height:
        counts = sieve.counts("train")
        why = ", ".join(f"{number} {_WORDS[reason]}" for reason, number in counts.items())
        if "evaluation_question" in counts:
            why += " (give a file that serves both `holdout`)"
        raise InputError(
            "questions.train: the sources hold no training question"
            + (f" but for those that are set aside: {why}" if why else "")
            + "; wanted at least one"
        )
    if section.eval and not evaluation.height:
        raise InputError(
            "questions.eval: the sources hold no evaluation question; wanted at least one, or no source"
        )
