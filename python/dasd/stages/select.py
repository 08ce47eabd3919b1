"""Stage ``select``: which of a question's candidates is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl
from pydantic import JsonValue

from dasd.api import Selector
from dasd.errors import InputError
from dasd.reading import Reading
from dasd.recipe import Recipe
from dasd.registry import Registry
from dasd.seeds import uniform
from dasd.stages import fingerprints
from dasd.stages.base import StageContext
from dasd.stages.candidates import candidates_frame, compared, sentences_frame
from dasd.stages.grading import Answers, Grader, answers_by_question
from dasd.stages.groups import QUESTIONS_PER_WINDOW, RowStream, question_groups, question_windows
from dasd.stages.selection import selection_summary, selection_warnings, selection_words
from dasd.stages.work import Unit, kept_ids, only

__all__ = ["SelectStage", "best", "choose"]

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
    """Writes SENTENCES and VERDICTS of every candidate: ``selected`` or ``not_selected``, with its score."""

    recipe: Recipe
    registry: Registry
    name: str
    samples: str
    """Stage of the samples."""
    dedup: str
    """Stage whose verdicts say which samples are left."""
    scores: str
    """Stage of the student's scores."""
    kind: str = field(default="select", init=False)

    @property
    def needs(self) -> tuple[str, ...]:
        """Questions, samples, verdicts, scores."""
        return ("questions", self.samples, self.dedup, self.scores)

    @property
    def _compares(self) -> bool:
        """Whether the selector compares the two models' log-probabilities."""
        return self.registry.component("selector", self.recipe.settings.select.selector).needs_logprobs

    def settings(self) -> Mapping[str, JsonValue]:
        """Section ``select``, its selector's owner and the seed; verifiers, as answers are counted."""
        section = self.recipe.settings.select
        return {
            "select": section.model_dump(mode="json"),
            "versions": self.registry.versions("selector", section.selector),
            "verifiers": fingerprints.verifier_versions(self.registry),
            "seed": self.recipe.settings.seed,
        }

    def run(self, context: StageContext) -> None:
        """Compare groups of whole questions, rank windows of them; figures of done windows wait in scratch."""
        settings = self.recipe.settings
        selector = self.registry.make_selector(settings.select, settings.seed)
        samples = context.inputs.frame(self.samples, "samples")
        kept = kept_ids(context.inputs.frame(self.dedup, "verdicts"))
        if self._compares:
            modes = samples.select("sample_id", "engine", "logprobs_mode")
            refuse_unlike(only(modes.collect(), kept), settings.select.selector)
        answers = answers_by_question(context.inputs.frame("questions", "questions"))
        windows = question_windows(samples)
        done = context.writer.done()
        start = sum(unit.size for unit in windows if unit.key in done)
        passed = samples.select("sample_id").head(start).collect().to_series()
        scores = RowStream(
            context.inputs.frame(self.scores, "scores").select("sample_id", "token_ends", "logprobs"),
            sum(sample_id in kept for sample_id in passed),
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
                    parts.append(self._compare(context, reading, rows, score, answers, grader, unit))
                    task.advance(group.unit.size)
                    if group.ends_window:
                        break
                table = self._rank(context, selector, pl.concat(parts), unit)
                table.write_parquet(scratch / f"{unit.key}.parquet")
                context.writer.finish_unit(unit.key)
        tables = [pl.read_parquet(scratch / f"{unit.key}.parquet") for unit in windows]
        self._report(context, pl.concat(tables) if tables else None)

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
        samples = reading.shared(samples)
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
        self, context: StageContext, selector: Selector, rows: pl.DataFrame, unit: Unit
    ) -> pl.DataFrame:
        """Write the verdicts of a window; returns what the summary needs, questions as numbers."""
        settings = self.recipe.settings
        candidates = rows.drop("correct")
        questions = candidates.get_column("question_id")
        student = context.models.open(settings.student) if selector.needs_student else None
        ranks = selector.rank(candidates, student)
        selected = choose(questions, ranks, settings.select.per_question)
        context.writer.append("verdicts", self._verdicts(candidates, ranks, selected), key=unit.key)
        lot = [
            uniform("random", settings.seed, sample_id) for sample_id in candidates.get_column("sample_id")
        ]
        return rows.select(
            "tokens",
            "sentences",
            "teacher",
            "student",
            "common",
            "correct",
            question_id=(questions.rank("dense") + unit.start).cast(pl.UInt64),
            rank=ranks,
            selected=selected,
            by_length=best(questions, candidates.get_column("tokens").cast(pl.Float64)),
            by_lot=best(questions, pl.Series(lot, dtype=pl.Float64)),
        )

    def _verdicts(self, candidates: pl.DataFrame, ranks: pl.Series, selected: pl.Series) -> pl.DataFrame:
        name = self.recipe.settings.select.selector
        details = [f"{name} {rank:.6g}" if rank is not None else f"{name} gives no score" for rank in ranks]
        return candidates.select(
            "sample_id",
            stage=pl.lit(self.name),
            kept=selected,
            reason=pl.when(selected).then(pl.lit("selected")).otherwise(pl.lit("not_selected")),
            detail=pl.Series(details, dtype=pl.String),
        )

    def _report(self, context: StageContext, table: pl.DataFrame | None) -> None:
        if table is None or not table.height:
            context.writer.summarise({"questions": 0, "candidates": 0, "selected": 0, "warnings": []})
            context.console.warn(
                f"{self.name}: no candidate is left; look at the verdicts of filter and dedup"
            )
            return
        summary = selection_summary(table)
        warnings = selection_warnings(summary, self.recipe.settings.select.selector, self._compares)
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
