"""Stage ``select``: which of a question's candidates is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl
from pydantic import JsonValue

from dasd.api import Selector
from dasd.errors import InputError
from dasd.recipe import Recipe
from dasd.registry import Registry
from dasd.seeds import uniform
from dasd.stages import fingerprints
from dasd.stages.base import StageContext
from dasd.stages.candidates import candidates_frame, sentence_probabilities, sentences_frame
from dasd.stages.grading import Answers, Grader, answers_by_question
from dasd.stages.groups import question_groups
from dasd.stages.selection import selection_summary, selection_warnings
from dasd.stages.work import Unit, kept_ids, only

__all__ = ["SelectStage", "best", "choose"]

NEED_TEACHER_LOGPROBS = frozenset({"divergence", "ratio", "fewest", "length-matched"})
"""Built-in selectors that compare the two models' log-probabilities."""


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
        """Rank groups of whole questions; the figures of done groups wait in the scratch directory."""
        settings = self.recipe.settings
        selector = self.registry.make_selector(settings.select, settings.seed)
        samples = context.inputs.frame(self.samples, "samples")
        kept = kept_ids(context.inputs.frame(self.dedup, "verdicts"))
        refuse_unlike(samples.filter(pl.col("sample_id").is_in(list(kept))), settings.select.selector)
        scores = context.inputs.frame(self.scores, "scores")
        answers = answers_by_question(context.inputs.frame("questions", "questions"))
        sample_ids = samples.select("sample_id").collect().to_series().to_list()
        done = context.writer.done()
        scratch = context.writer.scratch()
        groups = question_groups(samples)
        finished = sum(unit.size for unit in groups if unit.key in done)
        before = 0  # rows of SCORES that belong to the groups passed so far
        with context.console.task(
            f"{self.name}: {settings.select.selector}", len(sample_ids), "responses", completed=finished
        ) as task:
            for unit in groups:
                here = sum(sample_id in kept for sample_id in unit.of(sample_ids))
                if unit.key not in done:
                    rows = only(unit.rows(samples), kept)
                    table = self._select(
                        context, selector, rows, scores.slice(before, here).collect(), answers, unit
                    )
                    table.write_parquet(scratch / f"{unit.key}.parquet")
                    context.writer.finish_unit(unit.key)
                    task.advance(unit.size)
                before += here
        tables = [pl.read_parquet(scratch / f"{unit.key}.parquet") for unit in groups]
        self._report(context, pl.concat(tables) if tables else None)

    def _select(
        self,
        context: StageContext,
        selector: Selector,
        samples: pl.DataFrame,
        scores: pl.DataFrame,
        answers: Answers,
        unit: Unit,
    ) -> pl.DataFrame:
        """Write one group's rows; returns its candidates without their texts, for the summary."""
        settings = self.recipe.settings
        probabilities = sentence_probabilities(samples, scores)
        candidates = candidates_frame(samples, scores, probabilities, settings.select.beta)
        student = context.models.open(settings.student) if selector.needs_student else None
        ranks = selector.rank(candidates, student)
        selected = choose(candidates.get_column("question_id"), ranks, settings.select.per_question)
        context.writer.append("sentences", sentences_frame(probabilities, settings.select.beta), key=unit.key)
        context.writer.append("verdicts", self._verdicts(candidates, ranks, selected), key=unit.key)
        correct = Grader(self.registry).correct_rows(
            candidates.select("question_id", "text").iter_rows(), answers
        )
        lot = [
            uniform("random", settings.seed, sample_id) for sample_id in candidates.get_column("sample_id")
        ]
        return candidates.drop("text").with_columns(
            rank=ranks,
            selected=selected,
            correct=correct,
            by_length=best(
                candidates.get_column("question_id"), candidates.get_column("tokens").cast(pl.Float64)
            ),
            by_lot=best(candidates.get_column("question_id"), pl.Series(lot, dtype=pl.Float64)),
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
        warnings = selection_warnings(summary, self.recipe.settings.select.selector)
        context.writer.summarise({**summary, "warnings": list(warnings)})
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


def refuse_unlike(samples: pl.LazyFrame, selector: str) -> None:
    """InputError where ``selector`` would compare log-probabilities that are not alike."""
    if selector not in NEED_TEACHER_LOGPROBS:
        return
    unlike = samples.filter((pl.col("logprobs_mode") != "raw") | pl.col("logprobs").is_null())
    rows = unlike.select(
        "sample_id", "engine", "logprobs_mode", missing=pl.col("logprobs").is_null()
    ).collect()
    if rows.height:
        sample_id, engine, mode, missing = rows.row(0)
        got = "no log-probabilities" if missing else f"log-probabilities of mode {mode!r}"
        raise InputError(
            f"select.selector: {selector!r} compares the teacher's log-probabilities with the student's raw "
            f"ones, but {rows.height} samples have {got} (engine {engine}, first sample {sample_id}); sample "
            "with a backend that gives raw ones, or use random, longest, grape or naturalness, which need "
            "none"
        )
