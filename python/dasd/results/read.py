"""Reads the answers of a run's evaluations, or of a file of EVAL rows."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dasd.base.frames import GRADABLE
from dasd.base.records import RowsSetAside
from dasd.base.suggest import did_you_mean
from dasd.curation.sources.values import UNREADABLE, ValueFile
from dasd.errors import InputError
from dasd.recipe.problems import describe
from dasd.results.records import ATTEMPTS, Evaluation, Origin, Sampling, Ungraded
from dasd.store import Manifest, Run

__all__ = ["choose", "read"]

_STAGE = "evaluate-"
_UNGRADED = "ungraded."


def read(source: Run | Path | str) -> list[Evaluation]:
    """The evaluations of a run, in the order of its stages, or of a Parquet or JSONL file of EVAL rows.

    A file may have columns ``checkpoint`` (else there is one, named as the file) and ``domain``; rows that
    can't be used are set aside with a ``RowsSetAside`` warning. Raises InputError for what is neither a run
    nor a file of such rows, and for a run without answers.
    """
    if not isinstance(source, Run):
        path = Path(source)
        if path.is_file():
            return _of_file(path)
        source = Run.open(path)
    return _of_run(source)


def choose(
    found: Sequence[Evaluation], checkpoints: Iterable[str] = (), benchmarks: Iterable[str] = ()
) -> list[Evaluation]:
    """Those of these checkpoints with the rows of these benchmarks; none named: all, in their order.

    Raises InputError for a name that isn't there, with the nearest one that is.
    """
    checkpoints, benchmarks = tuple(checkpoints), tuple(benchmarks)
    known = {evaluation.checkpoint: evaluation for evaluation in found}
    chosen = [
        known[_known(name, known, "checkpoint", found[0].origin.source)] for name in checkpoints
    ] or list(found)
    if not benchmarks:
        return chosen
    named = dict.fromkeys(name for evaluation in chosen for name in evaluation.benchmarks)
    wanted = [_known(name, named, "benchmark", found[0].origin.source) for name in benchmarks]
    return [
        replace(evaluation, attempts=evaluation.attempts.filter(pl.col("benchmark").is_in(wanted)))
        for evaluation in chosen
    ]


def _known(name: str, known: Iterable[str], what: str, source: str) -> str:
    if name not in known:
        raise InputError(
            f"{source} has no evaluation of {what} {name!r}{did_you_mean(name, known)} "
            f"Evaluated: {', '.join(known)}"
        )
    return name


# -- runs --------------------------------------------------------------------------------------------


def _of_run(run: Run) -> list[Evaluation]:
    stages = [stage for stage in run.stages() if stage.kind == "evaluate" and stage.rows.get("eval")]
    if not stages:
        finished = ", ".join(stage.name for stage in run.stages()) or "none"
        raise InputError(
            f"{run.directory} has no finished evaluation with answers (finished stages: {finished}); run "
            f"`dasd evaluate {run.directory}` first"
        )
    questions = run.frame("questions").filter(pl.col("split") == "eval").collect()
    return [_of_stage(run, stage, questions) for stage in stages]


def _of_stage(run: Run, stage: Manifest, questions: pl.DataFrame) -> Evaluation:
    attempts = (
        run.frame("eval", stage.name)
        .collect()
        .join(
            questions.select("question_id", "domain", graded=GRADABLE),
            on="question_id",
            how="left",
            maintain_order="left",
        )
        .with_columns(
            checkpoint=pl.lit(stage.name.removeprefix(_STAGE)), correct=pl.when("graded").then("correct")
        )
    )
    ungraded = tuple(
        Ungraded(key.removeprefix(_UNGRADED), count)
        for key, count in stage.summary.items()
        if key.startswith(_UNGRADED) and isinstance(count, int)
    )
    seed = stage.settings.get("seed")
    origin = Origin(
        source=str(run.directory),
        name=run.record.name,
        model=run.settings.student.model,
        stage=stage.name,
        sampling=_sampling(
            run, stage, attempts.get_column("benchmark").unique(maintain_order=True).to_list()
        ),
        seed=seed if isinstance(seed, int) else None,
        finished=datetime.fromisoformat(stage.finished),
    )
    asked = questions.join(attempts, on="question_id", how="semi", maintain_order="left")
    return Evaluation(
        stage.name.removeprefix(_STAGE), attempts.select(list(ATTEMPTS.columns)), asked, ungraded, origin
    )


def _sampling(run: Run, stage: Manifest, names: Sequence[str]) -> tuple[Sampling, ...]:
    """From the stage's settings; stage ``questions`` says which source of questions is which benchmark."""
    labels = next(
        (other.summary.get("benchmarks") for other in run.stages() if other.kind == "questions"), None
    )
    listed = stage.settings.get("benchmarks")
    every = _mapping(stage.settings.get("sampling"))
    found = []
    for name in names:
        number = _mapping(labels).get(name)
        own: Mapping[str, Any] = {}
        if isinstance(listed, list) and isinstance(number, int) and number < len(listed):
            own = _mapping(listed[number])
        found.append(Sampling(name, every.get("temperature"), every.get("top_p"), own.get("max_tokens")))
    return tuple(found)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


# -- files -------------------------------------------------------------------------------------------


class _Row(BaseModel):
    """An EVAL row of a user's file; other columns are not looked at."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    checkpoint: str | None = None
    domain: str | None = None
    benchmark: str
    question_id: str
    attempt: int = Field(ge=0, lt=2**32)
    text: str = ""
    extracted: str | None = None
    correct: bool | None
    finish_reason: str = "stop"
    tokens: int = Field(ge=0, lt=2**32)
    seconds: float = Field(0.0, allow_inf_nan=False)


def _of_file(path: Path) -> list[Evaluation]:
    rows = _file_rows(path).with_columns(pl.col("checkpoint").fill_null(path.stem))
    written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    origin = Origin(str(path), path.stem, None, None, (), None, written)
    return [
        Evaluation(part.item(0, "checkpoint"), part, None, (), origin)
        for part in rows.partition_by("checkpoint", maintain_order=True)
    ]


def _file_rows(path: Path) -> pl.DataFrame:
    """ATTEMPTS rows, the checkpoint null where the file has none."""
    columns = dict(ATTEMPTS.columns)
    values = ValueFile(path, "EVAL row")
    if values.is_parquet:
        with suppress(*UNREADABLE):  # ValueFile says what is wrong with the file
            rows_read = pl.read_parquet(path, glob=False)
            if rows_read.schema == pl.Schema(columns):
                return rows_read
    rows: list[dict[str, Any]] = []

    def add(_: int, value: dict[str, object]) -> None:
        try:
            rows.append(_Row.model_validate(value).model_dump())
        except ValidationError as error:
            raise ValueError(describe(error, _Row)[0].strip()) from error

    needed = ", ".join(name for name, field in _Row.model_fields.items() if field.is_required())
    bad = values.read(add, f"; wanted a run directory, or EVAL rows, at least with the columns {needed}")
    if bad:
        warnings.warn(RowsSetAside(path, bad), stacklevel=2)
    return pl.DataFrame(rows, schema=columns)
