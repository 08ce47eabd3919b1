"""What sources of questions give, and rows that can't be used: told of and listed in the run directory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl
from pydantic import JsonValue

from dasd.base.records import LoadedQuestions, SetAside
from dasd.pipeline.work.stage import StageContext
from dasd.plugins.registry import Registry
from dasd.recipe.question_settings import QuestionSource

__all__ = ["SourceRead", "load_source", "report_set_aside"]


@dataclass(frozen=True, slots=True)
class SourceRead:
    """What one source gave for one split."""

    questions: pl.DataFrame
    """QUESTIONS rows, and ``place`` (string or null): where a question is from, e.g. ``mine.jsonl, row 41``."""
    set_aside: tuple[SetAside, ...]
    loaded: LoadedQuestions | None
    """What the source says of the files that it read."""


def load_source(registry: Registry, source: QuestionSource, split: str, seed: int) -> SourceRead:
    """Read a source; its rows are under its ``name`` if it has one."""
    read = registry.make_questions(source.source).load(source, split, seed)
    questions = read.rows
    if source.name is not None:
        questions = questions.with_columns(source=pl.lit(source.name))
    places = [read.places.get(question) for question in questions.get_column("question_id")]
    questions = questions.with_columns(place=pl.Series(places, dtype=pl.String))
    return SourceRead(questions, read.set_aside, read.loaded)


def _row_lines(set_aside: Sequence[SetAside]) -> list[dict[str, JsonValue]]:
    """A record a row: its file, number and reason."""
    return [
        {"file": str(each.path), "row": row.row, "reason": row.reason}
        for each in set_aside
        for row in each.rows
    ]


def report_set_aside(
    context: StageContext,
    set_aside: Sequence[SetAside],
    file: str,
    more: Sequence[Mapping[str, JsonValue]] = (),
) -> None:
    """Warn of each file's rows, and write all of them and ``more`` to the artifact ``file``, a JSON object a line."""
    for each in set_aside:
        context.console.warn(f"{each}; all of them: {file} in the run directory")
    lines = [json.dumps(line, ensure_ascii=False) for line in (*_row_lines(set_aside), *more)]
    if lines:
        context.writer.artifact(file).write_text("\n".join(lines) + "\n", encoding="utf-8")
