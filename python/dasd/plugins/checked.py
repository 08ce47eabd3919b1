"""Wrappers that hold what components return against schemas and promises, naming the one who broke them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

import polars as pl

from dasd.base.model_config import check_sizes, read_config
from dasd.base.records import (
    EvalSpec,
    Grade,
)
from dasd.base.schemas import EVAL, Schema
from dasd.errors import InputError, PluginError, SchemaError
from dasd.plugins.blame import Origin
from dasd.plugins.checked_rows import (
    as_rows,
    check_answers,
    check_grade,
    unchanged,
)
from dasd.plugins.exports import Exported, ExportRun
from dasd.plugins.roles import (
    Checkpoint,
    Evaluator,
    Exporter,
    Filter,
    Selector,
    Teacher,
    Trainer,
    TrainSpec,
    Verifier,
)

InnerT = TypeVar("InnerT")

_JUDGEMENT = Schema("verdicts", {"kept": pl.Boolean, "reason": pl.String, "detail": pl.String})


class Checked(Generic[InnerT]):
    """Around what the factory of a component returned; ``origin`` says whose it is."""

    methods: ClassVar[tuple[str, ...]]
    """What its role calls."""

    def __init__(self, inner: InnerT, origin: Origin) -> None:
        """PluginError for one that lacks a method of its role."""
        missing = [
            name for name in self.methods if not hasattr(type(inner), name) and not hasattr(inner, name)
        ]
        if missing:
            kind = type(inner).__name__
            raise PluginError(f"{origin}: its factory returned a {kind} without {', '.join(missing)}")
        self._inner = inner
        self._origin = origin


class CheckedTrainer(Checked[Trainer]):
    """A trainer that must leave a checkpoint directory where it was asked to."""

    methods = ("train",)

    def train(self, shards: Sequence[Path], spec: TrainSpec, resume: bool) -> Checkpoint:
        """As ``Trainer.train``."""
        with self._origin.blamed():
            checkpoint = self._inner.train(shards, spec, resume)
        if not isinstance(checkpoint, Checkpoint):
            raise SchemaError(f"{self._origin} returned a {type(checkpoint).__name__}; wanted a Checkpoint")
        if not (spec.output / "config.json").is_file():
            raise SchemaError(f"{self._origin} left no model (config.json) in {spec.output}")
        _check_checkpoint(spec, self._origin.label)
        return checkpoint


class CheckedEvaluator(Checked[Evaluator]):
    """An evaluator whose frames are checked against EVAL, and which may give each attempt once."""

    methods = ("evaluate",)

    def evaluate(self, model: Teacher, questions: pl.DataFrame, spec: EvalSpec) -> Iterator[pl.DataFrame]:
        """As ``Evaluator.evaluate``."""
        asked = {(q, n) for q in questions.get_column("question_id") for n in range(spec.attempts)}
        open_ones = asked - spec.done

        def close(key: tuple[str, int], what: str) -> None:
            if key not in open_ones:
                why = "that nobody asked for"
                if key in asked:
                    why = "that is done already (EvalSpec.done)" if key in spec.done else "twice"
                raise SchemaError(
                    f"{self._origin} {what} an answer {why}: attempt {key[1]} at question {key[0]}"
                )
            open_ones.discard(key)

        def refused(question_id: str, attempt: int, reason: str) -> None:
            close((question_id, attempt), "refused")
            spec.on_refused(question_id, attempt, reason)

        own = replace(spec, on_refused=refused)
        for frame in self._origin.each(lambda: self._inner.evaluate(model, questions.clone(), own)):
            rows = as_rows(frame, EVAL, self._origin.label)
            check_answers(rows, self._origin.label)
            for key in rows.select("question_id", "attempt").iter_rows():
                close(key, "returned")
            other = rows.filter(pl.col("benchmark") != spec.benchmark)
            if other.height:
                got = other.get_column("benchmark")[0]
                raise SchemaError(f"{self._origin} returned benchmark {got!r}; wanted {spec.benchmark!r}")
            yield rows


class CheckedSelector(Checked[Selector]):
    """A selector whose ranks must be one Float64 a candidate."""

    methods = ("rank", "needs_student")

    @property
    def needs_student(self) -> bool:
        """Of the wrapped selector."""
        with self._origin.blamed():
            return self._inner.needs_student

    def rank(self, candidates: pl.DataFrame, student: Teacher | None) -> pl.Series:
        """As ``Selector.rank``."""
        with unchanged(candidates, self._origin.label), self._origin.blamed():
            ranks = self._inner.rank(candidates, student)
        if not isinstance(ranks, pl.Series) or ranks.dtype != pl.Float64 or len(ranks) != candidates.height:
            got = f"{len(ranks)} of {ranks.dtype}" if isinstance(ranks, pl.Series) else type(ranks).__name__
            wanted = f"a series of {candidates.height} Float64"
            raise SchemaError(f"{self._origin} returned ranks: {got}; wanted {wanted}")
        return ranks


class CheckedFilter(Checked[Filter]):
    """A filter that must judge every response, in order."""

    methods = ("judge",)

    def judge(self, responses: pl.DataFrame) -> pl.DataFrame:
        """As ``Filter.judge``."""
        with unchanged(responses, self._origin.label), self._origin.blamed():
            judged = self._inner.judge(responses)
        rows = as_rows(judged, _JUDGEMENT, self._origin.label)
        if rows.height != responses.height:
            raise SchemaError(
                f"{self._origin} judged {rows.height} of {responses.height} responses; wanted all"
            )
        return rows


class CheckedExporter(Checked[Exporter]):
    """An exporter that must have written the files that it names, each of a training that it was given."""

    methods = ("export",)

    def export(self, run: ExportRun, directory: Path) -> Exported:
        """As ``Exporter.export``."""
        with self._origin.blamed():
            exported = self._inner.export(run, directory)
        if not isinstance(exported, Exported):
            raise SchemaError(f"{self._origin} returned a {type(exported).__name__}; wanted an Exported")
        stages = {stage.name for stage in run.stages}
        for file in exported.files:
            if file.stage not in stages:
                raise SchemaError(
                    f"{self._origin} names a file of training {file.stage!r}, which it wasn't given"
                )
            _check_exported(directory, file.path, self._origin.label)
            if file.rows and not (directory / file.path).is_file():
                raise SchemaError(f"{self._origin} names a file {file.path!r} that it hasn't written")
        return exported


class CheckedVerifier(Checked[Verifier]):
    """A verifier that must return a Grade."""

    methods = ("grade",)

    def grade(self, response: str, answer: str, argument: str) -> Grade:
        """As ``Verifier.grade``."""
        with self._origin.blamed():
            grade = self._inner.grade(response, answer, argument)
        return self._checked(grade)

    def check(self, answer: str, argument: str) -> None:
        """InputError for an answer or argument that it can't read, of a verifier that has ``check`` itself."""
        check = getattr(self._inner, "check", None)
        if check is not None:
            with self._origin.blamed():
                check(answer, argument)

    def grade_many(self, rows: Sequence[tuple[str, str, str]]) -> list[Grade]:
        """A grade for every (response, answer, argument); at once where the verifier has ``grade_many`` itself."""
        many = getattr(self._inner, "grade_many", None)
        if many is None:
            return [self.grade(*row) for row in rows]
        with self._origin.blamed():
            found = list(many(rows))
        grades = [self._checked(grade) for grade in found]
        if len(grades) != len(rows):
            raise SchemaError(f"{self._origin} returned {len(grades)} grades for {len(rows)} responses")
        return grades

    def _checked(self, grade: object) -> Grade:
        if not isinstance(grade, Grade):
            raise SchemaError(f"{self._origin} returned a {type(grade).__name__}; wanted a Grade")
        check_grade(grade, self._origin.label)
        return grade


def _check_checkpoint(spec: TrainSpec, origin: str) -> None:
    """Files alone in ``spec.output``, safetensors among them, of a model of the kind that was to be trained.

    Raises SchemaError that names ``origin``.
    """
    for path in sorted(spec.output.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise SchemaError(f"{origin} left {path}, a link, pipe or device; wanted files of its own")
    if not any(spec.output.glob("*.safetensors")):
        raise SchemaError(f"{origin} left no weights (*.safetensors) in {spec.output}")
    try:
        check_sizes(spec.output)
        given, left = (read_config(path).get("model_type") for path in (spec.model, spec.output))
    except InputError as error:
        raise SchemaError(f"{origin} left a checkpoint that can't be used: {error}") from error
    if given != left:
        raise SchemaError(
            f"{origin} left a model of model_type {left!r} in {spec.output}; wanted {given!r}, as it was given"
        )


def _check_exported(directory: Path, name: str, origin: str) -> None:
    """Raise SchemaError that names ``origin`` unless ``name`` is of a file below ``directory`` and of no link."""
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or (directory / path).is_symlink():
        raise SchemaError(
            f"{origin} names a file {name!r}; wanted a file of its own below the export's directory"
        )


def grade_rows(rows: Sequence[tuple[CheckedVerifier, str, str, str]]) -> list[Grade]:
    """Grades of (verifier, response, answer, argument), in order; each verifier gets all of its rows at once."""
    by_verifier: dict[int, list[int]] = {}
    for row, (verifier, *_) in enumerate(rows):
        by_verifier.setdefault(id(verifier), []).append(row)
    grades: dict[int, Grade] = {}
    for places in by_verifier.values():
        found = rows[places[0]][0].grade_many([rows[place][1:] for place in places])
        grades.update(zip(places, found, strict=True))
    return [grades[row] for row in range(len(rows))]
