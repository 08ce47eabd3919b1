"""Stage ``select``: which of a question's candidates is trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import polars as pl
from pydantic import JsonValue

from dasd.base.frames import kept_set, only
from dasd.base.seeds import uniform
from dasd.errors import InputError
from dasd.models.tokens.think_opening import Reading
from dasd.pipeline.stages import quotas
from dasd.pipeline.stages.candidates import candidates_frame, compared, sentences_frame
from dasd.pipeline.stages.selection_figures import SelectionFigures, selection_warnings, selection_words
from dasd.pipeline.work import fingerprints
from dasd.pipeline.work.grading import Answers, Grader
from dasd.pipeline.work.question_groups import (
    QUESTIONS_PER_WINDOW,
    RowStream,
    question_groups,
    question_windows,
)
from dasd.pipeline.work.stage import StageContext
from dasd.pipeline.work.units import Unit, finish_rows
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry
from dasd.plugins.roles import Selector
from dasd.recipe.curation_settings import SelectSettings
from dasd.recipe.stage_settings import OffPolicyStage
from dasd.store import Summaries
from dasd.store.question_lookup import QuestionLookup

__all__ = ["SelectStage", "best", "choose"]

_BATCH = 1 << 16
_COLUMNS = (
    "sample_id",
    "question_id",
    "candidate",
    "text",
    "finish_reason",
    "token_ends",
    "logprobs",
    "logprobs_mode",
    "engine",
)


@dataclass(frozen=True, slots=True)
class SelectStage:
    """Writes SENTENCES and VERDICTS of every candidate, with its score.

    Reasons: ``selected``, ``not_selected``, and ``over_total`` for one that was selected and not drawn.
    """

    recipe: Recipe
    registry: Registry
    name: str
    stage: OffPolicyStage
    samples: str
    """Stage of the samples."""
    dedup: str
    """Stage whose verdicts say which samples are left."""
    scores: str
    """Stage of the student's scores."""
    kind: str = field(default="select", init=False)
    frame: ClassVar[str] = "verdicts"
    passes_on: ClassVar[str | None] = "selected"

    @property
    def needs(self) -> tuple[str, ...]:
        """Questions, samples, verdicts, scores."""
        return ("questions", self.samples, self.dedup, self.scores)

    @property
    def _compares(self) -> bool:
        """Whether the selector compares the two models' log-probabilities."""
        return self.registry.component("selector", self.recipe.settings.select.selector).needs_logprobs

    @property
    def _by_length(self) -> bool:
        """Whether the selector is meant to prefer the longest response."""
        return self.registry.component("selector", self.recipe.settings.select.selector).by_length

    @property
    def _select(self) -> SelectSettings:
        return self.recipe.settings.select_for(self.stage)

    def settings(self) -> Mapping[str, JsonValue]:
        """Section ``select``, its selector's owner and the seed; bounds."""
        section = self._select
        limits: dict[str, JsonValue] = {**(quotas.limits(self.stage) or {})}
        return {
            "select": section.model_dump(mode="json"),
            "versions": self.registry.versions("selector", section.selector),
            "seed": self.recipe.settings.seed,
            **({"limits": limits} if limits else {}),
        }

    def settings_by_needs(self, summaries: Summaries) -> Mapping[str, JsonValue]:
        """The verifiers that the questions name, as right answers are counted."""
        return {"verifiers": fingerprints.verifier_versions(self.registry, summaries, "train")}

    def run(self, context: StageContext) -> None:
        """Compare groups of whole questions, rank windows of them, draw from what was selected in all."""
        self._draw(context, self._windows(context))

    def _windows(self, context: StageContext) -> list[tuple[Unit, Path]]:
        """Windows of questions, and where what is known of their candidates waits in scratch."""
        settings = self.recipe.settings
        selector = self.registry.make_selector(self._select, settings.seed)
        samples = context.inputs.frame(self.samples, "samples")
        # What the student's engine refused to score can't be compared.
        scored = context.inputs.rows(self.scores, "scores").select(["sample_id"])
        kept = kept_set(context.inputs.frame(self.dedup, "verdicts"))
        kept.keep(rows.to_series() for rows in scored.batches(_BATCH))
        if self._compares:
            modes = samples.select("sample_id", "engine", "logprobs_mode").filter(
                pl.col("logprobs_mode") != "raw"
            )
            refuse_unlike(only(modes.collect(engine="streaming"), kept), settings.select.selector)
        asked = context.inputs.rows("questions", "questions")
        questions = QuestionLookup.of(asked, context.writer.scratch())
        windows = question_windows(samples)
        done = context.writer.done()
        start = sum(unit.size for unit in windows if unit.key in done)
        ids = context.inputs.rows(self.samples, "samples").select(["sample_id"])
        passed = sum(only(rows, kept).height for rows in ids.head(start).batches(_BATCH))
        scores = RowStream(
            context.inputs.frame(self.scores, "scores").select("sample_id", "token_ends", "logprobs"),
            passed,
        )
        grader = Grader(self.registry)
        reading = Reading.of(settings.teacher, settings.student)
        scratch = context.writer.scratch()
        groups = question_groups(
            samples.select(_COLUMNS), start, tokens="token_ends", window=QUESTIONS_PER_WINDOW
        )
        total = sum(unit.size for unit in windows)
        description = f"{self.name}: {settings.select.selector}"
        with context.console.task(description, total, "responses", completed=start) as task:
            for unit in [unit for unit in windows if unit.key not in done]:
                parts = []
                for group in groups:
                    rows = only(group.rows, kept)
                    score = scores.take(rows.height)
                    parts.append(
                        self._compare(context, reading, rows, score, questions.answers, grader, unit)
                    )
                    task.advance(group.unit.size)
                    if group.ends_window:
                        break
                table = self._rank(context, selector, pl.concat(parts), questions.domains, unit)
                table.write_parquet(scratch / f"{unit.key}.parquet")
                context.writer.finish_unit(unit.key)
        return [(unit, scratch / f"{unit.key}.parquet") for unit in windows]

    def _compare(
        self,
        context: StageContext,
        reading: Reading,
        samples: pl.DataFrame,
        scores: pl.DataFrame,
        answers: Answers,
        grader: Grader,
        unit: Unit,
    ) -> pl.DataFrame:
        """Write one group's sentences; returns its candidates and column ``correct``."""
        settings = self.recipe.settings
        if self._compares:
            refuse_unlike(samples, settings.select.selector)
        # Whatever the selector looks at: log-probabilities of other kinds are compared with none.
        raw = pl.when(pl.col("logprobs_mode") == "raw").then("logprobs")
        samples = reading.shared(samples.with_columns(logprobs=raw))
        found = compared(samples, scores, settings.select.beta)
        context.writer.append("sentences", sentences_frame(found, settings.select.beta), key=unit.key)
        seen = samples.with_columns(reading.texts(samples["text"]))
        candidates = candidates_frame(seen, scores, found)
        if settings.filters.answer:  # what the verifier found wrong is gone
            known = [True if question in answers else None for question in candidates["question_id"]]
            correct = pl.Series(known, dtype=pl.Boolean)
        else:
            correct = grader.correct_rows(candidates.select("question_id", "text").iter_rows(), answers)
        return candidates.with_columns(correct=correct)

    def _rank(
        self,
        context: StageContext,
        selector: Selector,
        rows: pl.DataFrame,
        domains: Mapping[str, str],
        unit: Unit,
    ) -> pl.DataFrame:
        """What verdicts and summary need of a window's candidates, questions as numbers."""
        settings = self.recipe.settings
        candidates = rows.drop("correct")
        questions = candidates.get_column("question_id")
        student = context.models.open(settings.student) if selector.needs_student else None
        ranks = selector.rank(candidates, student)
        sample_ids = candidates.get_column("sample_id")
        lot = [uniform("random", settings.seed, sample_id) for sample_id in sample_ids]
        return rows.select(
            "sample_id",
            "sentences",
            "teacher",
            "student",
            "common",
            "correct",
            tokens="student_tokens",
            question_id=(questions.rank("dense") + unit.start).cast(pl.UInt64),
            rank=ranks,
            selected=choose(questions, ranks, self._select.per_question),
            domain=questions.replace_strict(
                {question: domains[question] for question in questions.unique()}, return_dtype=pl.String
            ),
            draw=quotas.draws(sample_ids, "total", settings.seed),
            by_length=best(questions, candidates.get_column("student_tokens").cast(pl.Float64)),
            by_lot=best(questions, pl.Series(lot, dtype=pl.Float64)),
        )

    def _draw(self, context: StageContext, windows: Sequence[tuple[Unit, Path]]) -> None:
        """Verdicts of every window, once it is known what all of them selected; then the figures."""
        limits = quotas.limits(self.stage)
        tables = [pl.scan_parquet(path) for _, path in windows]
        chosen = (table.filter("selected").select("domain", "draw").collect() for table in tables)
        highest = quotas.cutoffs(chosen, limits)
        figures = SelectionFigures()
        for (unit, _), table in zip(windows, tables, strict=True):
            rows = table.collect()
            rows = rows.with_columns(drawn=quotas.within(rows, highest) & rows["selected"])
            key = f"verdicts/{unit.key}"
            if key not in context.writer.done():
                finish_rows(context, "verdicts", self._verdicts(rows), Unit(key, unit.start, unit.stop))
            figures.add(rows)
        self._report(context, figures, limits)

    def _verdicts(self, rows: pl.DataFrame) -> pl.DataFrame:
        name = self.recipe.settings.select.selector
        ranks = rows.get_column("rank")
        details = [f"{name} {rank:.6g}" if rank is not None else f"{name} gives no score" for rank in ranks]
        return rows.select(
            "sample_id",
            stage=pl.lit(self.name),
            kept="drawn",
            reason=pl.when("drawn")
            .then(pl.lit("selected"))
            .when("selected")
            .then(pl.lit("over_total"))
            .otherwise(pl.lit("not_selected")),
            detail=pl.Series(details, dtype=pl.String),
        )

    def _report(
        self, context: StageContext, figures: SelectionFigures, limits: Mapping[str, int] | None
    ) -> None:
        summary = figures.summary()
        if not summary["candidates"]:
            context.writer.summarise({"questions": 0, "candidates": 0, "selected": 0, "warnings": []})
            context.console.warn(
                f"{self.name}: no candidate is left; look at the verdicts of filter and dedup"
            )
            return
        warnings = selection_warnings(summary, self._compares, self._by_length)
        if limits is not None:
            warnings += quotas.shortages(figures.drawn_by_domain, limits)
        context.writer.summarise({**summary, "warnings": list(warnings)})
        for line in selection_words(summary):
            context.console.info(f"{self.name}: {line}")
        shown = [(key, value) for key, value in summary.items() if value is not None]
        context.console.table(f"{self.name}: what selection did", ("figure", "value"), shown)
        for warning in warnings:
            context.console.warn(f"{self.name}: {warning}")


def choose(questions: pl.Series, ranks: pl.Series, per_question: int) -> pl.Series:
    """Which rows are among the ``per_question`` highest of their question; ties go to the earlier row.

    NaN and null are never chosen.
    """
    frame = pl.DataFrame({"question": questions, "rank": ranks}).with_row_index("row")
    chosen = (
        frame.filter(pl.col("rank").is_not_null() & pl.col("rank").is_not_nan())
        .sort("rank", "row", descending=[True, False])
        .group_by("question", maintain_order=True)
        .head(per_question)
        .get_column("row")
    )
    return frame.get_column("row").is_in(chosen.implode()).alias("selected")


def best(questions: pl.Series, ranks: pl.Series) -> pl.Series:
    """The one highest row of each question."""
    return choose(questions, ranks, 1)


def refuse_unlike(samples: pl.DataFrame, selector: str) -> None:
    """InputError where ``selector`` would compare log-probabilities that are not alike.

    ``samples``: sample_id, engine and logprobs_mode, and logprobs where they have been read.
    """
    missing = pl.col("logprobs").is_null() if "logprobs" in samples.columns else pl.lit(False)
    unlike = samples.filter((pl.col("logprobs_mode") != "raw") | missing)
    if unlike.height:
        sample_id, engine, mode, none = unlike.select("sample_id", "engine", "logprobs_mode", missing).row(0)
        got = "no log-probabilities" if none else f"log-probabilities of mode {mode!r}"
        raise InputError(
            f"select.selector: {selector!r} compares the teacher's log-probabilities with the student's raw "
            f"ones, but {unlike.height} samples have {got} (engine {engine}, first sample {sample_id}); sample "
            "with a backend that gives raw ones, or use random, longest, grape or naturalness, which need "
            "none"
        )
