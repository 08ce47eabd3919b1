"""Stage ``questions``: reads the sources, sets aside what can't be used, writes both splits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import polars as pl
from pydantic import JsonValue

from dasd.errors import InputError
from dasd.recipe import Recipe
from dasd.records import RowsSetAside
from dasd.registry import Registry
from dasd.schemas import QUESTIONS
from dasd.settings import QuestionsSettings
from dasd.settings_verifier import VerifierSettings
from dasd.stages import asking, fingerprints
from dasd.stages.base import StageContext
from dasd.stages.decontamination import benchmark_questions
from dasd.stages.loaded import report_loaded
from dasd.stages.question_checks import Sieve, distinct, without_repeats
from dasd.stages.set_aside import SourceRead, load_source, report_set_aside
from dasd.stages.source_run import SourceRun
from dasd.store.origin import ORIGIN

__all__ = ["QuestionsStage"]

SET_ASIDE_FILE = "set-aside-questions.jsonl"
_WORDS = {
    "exact_duplicate": "the same as an earlier one",
    "evaluation_question": "evaluation questions too",
    "contaminated": "overlap with benchmark questions",
    "near_duplicate": "nearly the same as an earlier one",
}


@dataclass(frozen=True, slots=True)
class QuestionsStage:
    """Writes QUESTIONS, with the recipe's system prompt before every conversation that has none."""

    recipe: Recipe
    registry: Registry
    name: str = "questions"
    kind: str = field(default="questions", init=False)
    needs: tuple[str, ...] = field(default=(), init=False)

    def settings(self) -> Mapping[str, JsonValue]:
        """Section ``questions``, what of ``dedup`` is about questions, contents of files, versions of sources, seed."""
        section, dedup = self.recipe.settings.questions, self.recipe.settings.dedup
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
            "seed": self.recipe.settings.seed,
            **({"stages": own} if own else {}),
        }

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
        pools = {name: distinct(_rows(each), "split", sieve) for name, each in of_pools.items()}
        train = asking.merged(pools)
        # A benchmark stays whole, whatever else is evaluated.
        evaluation = distinct(_rows(of_eval), "source", sieve)
        benchmarks, unusable = benchmark_questions(self.recipe, self.registry, evaluation)
        train = without_repeats(train, evaluation, benchmarks, settings.dedup, sieve)
        _refuse_empty(section, train, evaluation, sieve)
        both, renamed = _unique_ids(pl.concat([train, evaluation]).select(list(QUESTIONS.columns)))
        left = both.filter(pl.col("split") == "train")
        asked = asking.asked(settings, pools, left)
        asking.check_asked(settings, asked, left)
        both = with_system_prompt(both, section.system_prompt)
        self._check_verifiers(both)
        context.writer.append("questions", both, key="all")
        if asking.has_own(settings):
            context.writer.append("asked", asked, key="all")
        if sieve.rows.height:
            context.writer.append(
                "set_aside", with_system_prompt(sieve.rows, section.system_prompt), key="all"
            )
        context.writer.finish_unit("all")
        set_aside = _once(warning for each in read for warning in each.set_aside)
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
                "benchmarks": labels,
                "set_aside": sum(len(warning.rows) for warning in set_aside),
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

    def _check_verifiers(self, questions: pl.DataFrame) -> None:
        """PluginError for a verifier that nobody registered, RecipeError for its options, before anything is spent."""
        named = {
            how.component: how
            for how in map(VerifierSettings.of, questions.get_column("verifier").drop_nulls().unique())
        }
        for _, verifier in sorted(named.items()):
            self.registry.check_verifier(verifier)


def with_system_prompt(questions: pl.DataFrame, prompt: str | None) -> pl.DataFrame:
    """Put ``prompt`` before every conversation without a system message of its own."""
    if prompt is None:
        return questions
    system = {"role": "system", "content": prompt}
    cells = [
        list(cell) if any(turn["role"] == "system" for turn in cell) else [system, *cell]
        for cell in questions.get_column("messages")
    ]
    column = pl.Series("messages", cells, dtype=questions.schema["messages"])
    return questions.with_columns(column)


def _rows(read: Sequence[SourceRead]) -> pl.DataFrame:
    """Questions of several sources, with column ``place``."""
    empty = QUESTIONS.empty().with_columns(place=pl.lit(None, pl.String))
    return pl.concat([empty, *(each.questions for each in read)])


def _once(found: Iterable[RowsSetAside]) -> list[RowsSetAside]:
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
            f"{sum(counts.values())} training questions are set aside before sampling: {reasons}; each with what it "
            f"repeats: {SET_ASIDE_FILE} in the run directory"
        )


def _labels(frames: Sequence[pl.DataFrame]) -> dict[str, JsonValue]:
    """Label of each benchmark -> number of its source in ``questions.eval``; InputError for one that two have."""
    labels: dict[str, JsonValue] = {}
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


def _unique_ids(rows: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Ids that an earlier source uses too get their split and source before them; and how many did."""
    taken = ~rows.get_column("question_id").is_first_distinct()
    if not taken.any():
        return rows, 0
    longer = pl.concat_str("split", "source", "question_id", separator=":")
    renamed = rows.with_columns(pl.when(taken).then(longer).otherwise("question_id").alias("question_id"))
    repeated = renamed.filter(~pl.col("question_id").is_first_distinct())
    if repeated.height:
        raise InputError(
            f"two questions have the id {repeated['question_id'][0]!r}; wanted one id a question in all "
            "sources"
        )
    return renamed, int(taken.sum())


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
