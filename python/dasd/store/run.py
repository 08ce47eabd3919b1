"""The read side of a run directory. Needs no lock and changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import polars as pl
import yaml
from pydantic import JsonValue, ValidationError

from dasd.base.files import read_lines
from dasd.base.schemas import ALL, SENTENCES
from dasd.base.small_files import read_json, read_small
from dasd.base.suggest import did_you_mean
from dasd.errors import InputError, StoreError
from dasd.recipe.evaluation_recipe import recipe_model
from dasd.recipe.settings import RecipeSettings
from dasd.recipe.yaml import plain
from dasd.store.directory import EVENTS, RECIPE, RUN, STAGES, RunDirectory
from dasd.store.manifest import Event, Manifest, RunRecord, read_record
from dasd.store.parts import PartRows, scan
from dasd.store.stage import StageDirectory
from dasd.store.verified import StoredFile

REPORT = "report.json"
REPORT_PAGE = "report.html"
_RECIPE_BYTES = 4 << 20
"""A recipe has at most 1 MiB; a run's holds the defaults too."""


def is_run(path: Path) -> bool:
    """Whether ``path`` holds a run, whole or damaged. Raises PermissionError where it may not be looked into."""
    return any((path / name).exists() for name in (RUN, STAGES))


@lru_cache(maxsize=4)
def _recipe(text: str) -> RecipeSettings:
    """A report asks for it many times, and YAML is slow to read."""
    data = plain(text)
    return recipe_model(data).model_validate(data)


def _once(sentences: pl.LazyFrame) -> pl.LazyFrame:
    """Without the rows of a response for which there are others that know the distilled model."""
    distilled = sentences.filter(pl.col("p_distilled").is_not_null())
    known = distilled.select("sample_id").unique()
    rest = sentences.filter(pl.col("p_distilled").is_null())
    return pl.concat([rest.join(known, on="sample_id", how="anti", maintain_order="left"), distilled])


class Run:
    """A run directory, read. Stages that aren't done are not seen."""

    def __init__(self, directory: Path) -> None:
        self._store = RunDirectory(directory)
        self._record = read_record(directory / RUN, RunRecord)
        self._checked: set[tuple[str, str]] = set()

    @classmethod
    def open(cls, directory: Path | str) -> Run:
        """The run in ``directory``. Raises InputError if there is none, StoreError if it is damaged."""
        path = Path(directory)
        if not is_run(path):
            raise InputError(
                f"{path} is not a run directory: it has no {RUN}; give the path of one, e.g. runs/demo"
            )
        return cls(path)

    @property
    def directory(self) -> Path:
        """Where the run lies."""
        return self._store.path

    @property
    def record(self) -> RunRecord:
        """``run.json``: name, creation, versions, machine, seed."""
        return self._record

    @property
    def settings(self) -> RecipeSettings:
        """The recipe as it was last run. Raises StoreError if recipe.yaml is missing or altered."""
        path = self.directory / RECIPE
        try:
            return _recipe(read_small(path, _RECIPE_BYTES).decode("utf-8")).model_copy(deep=True)
        except (OSError, ValueError, RecursionError, yaml.YAMLError, ValidationError) as error:
            raise StoreError(f"{path} can't be read as the recipe of this run: {error}", path) from error

    def stages(self) -> list[Manifest]:
        """Manifests of the finished stages, in the order of the graph."""
        return [manifest for _, manifest in self._finished().values()]

    def _finished(self) -> dict[str, tuple[StageDirectory, Manifest]]:
        found = {}
        for name, stage in self._store.stages().items():
            manifest = stage.manifest()
            if manifest is not None:
                found[name] = (stage, manifest)
        return found

    def _get(self, stage: str) -> tuple[StageDirectory, Manifest]:
        finished = self._finished()
        if stage not in finished:
            raise InputError(
                f"{self.directory} has no finished stage {stage!r}{did_you_mean(stage, finished)} "
                f"Finished: {', '.join(finished) or 'none'}"
            )
        return finished[stage]

    def stage_directory(self, stage: str) -> Path:
        """``stages/NN-name`` of a finished stage. Raises InputError."""
        return self._get(stage)[0].path

    def summary(self, stage: str) -> Mapping[str, JsonValue]:
        """Figures that a finished stage left. Raises InputError."""
        return self._get(stage)[1].summary

    def artifact(self, stage: str) -> Path:
        """The one artifact of a finished stage, e.g. a training's checkpoint. Raises InputError."""
        directory, manifest = self._get(stage)
        if len(manifest.artifacts) != 1:
            found = ", ".join(item.path for item in manifest.artifacts) or "none"
            raise InputError(f"stage {stage} has not one artifact: {found}")
        return directory.root / manifest.artifacts[0].path

    def frame(self, name: str, stage: str | None = None, *, with_stage: bool = False) -> pl.LazyFrame:
        """Rows of one frame (see ``dasd.base.schemas``) over all finished stages, or of one.

        ``with_stage`` adds column ``run_stage`` (string), the stage that wrote the row. No rows: an empty
        frame with the schema's columns. Raises InputError for a frame or stage that doesn't exist.

        ``"sentences"`` over all stages holds each response once: where the distilled model has scored a
        response for the report, its rows with ``p_distilled`` and the kinds by three models stand instead of
        those of the select stage, which ``stage="select-NAME"`` gives for every response.
        """
        if name not in ALL:
            raise InputError(f"there is no frame {name!r}{did_you_mean(name, ALL)} Known: {', '.join(ALL)}")
        chosen = self._finished() if stage is None else {stage: self._get(stage)}
        frames = []
        for owner, (directory, manifest) in chosen.items():
            if name in manifest.rows:
                if (owner, name) not in self._checked:  # a damaged part may decode to other numbers
                    directory.verify_parts(part for part in manifest.parts if part.frame == name)
                    self._checked.add((owner, name))
                rows = scan(directory.path, manifest.parts, name)
                frames.append(rows.with_columns(run_stage=pl.lit(owner)) if with_stage else rows)
        if frames:
            rows = pl.concat(frames)
            return _once(rows) if name == SENTENCES.name and stage is None else rows
        empty = ALL[name].empty().lazy()
        return empty.with_columns(run_stage=pl.lit(None, pl.String)) if with_stage else empty

    def rows(self, name: str, stage: str) -> PartRows:
        """Rows of one frame of one finished stage, to be read by slices. Raises InputError as ``frame`` does."""
        self.frame(name, stage)
        directory, manifest = self._get(stage)
        return PartRows(directory.path, manifest.parts, name)

    def report(self) -> dict[str, JsonValue]:
        """Content of report.json. Raises InputError if there is none yet, StoreError if it is damaged."""
        path = self.directory / REPORT
        if not path.exists():
            raise InputError(f"{self.directory} has no report yet; finish the run, or give `dasd report`")
        try:
            content = read_json(path)
        except (OSError, ValueError, RecursionError) as error:
            raise StoreError(
                f"{path} is torn or was altered: {error}. Restore it from a copy, or remove the directory of stage "
                "report and give `dasd report` again.",
                path,
            ) from error
        if not isinstance(content, dict):
            raise StoreError(f"{path} was altered: wanted a JSON object, got {type(content).__name__}", path)
        return content

    @property
    def report_path(self) -> Path:
        """The report as a page; it exists once stage ``report`` is done."""
        return self.directory / REPORT_PAGE

    def events(self) -> list[Event]:
        """All events so far, oldest first; a torn last line is left out. Raises StoreError."""
        path = self.directory / EVENTS
        try:
            return [Event.model_validate(value) for value in read_lines(path)]
        except ValidationError as error:
            raise StoreError(f"{path} holds a line that is no event; it was altered", path) from error

    def verify(self, *stages: str) -> None:
        """Hold every file of finished stages, all by default, against its checksum. Raises StoreError naming a file."""
        for name in stages or self._finished():
            stage, manifest = self._get(name)
            stage.verify(manifest)

    def stored(self) -> tuple[list[StoredFile], list[str]]:
        """Every file of all stages, of an unfinished one its finished units', and what is wrong with their records."""
        files: list[StoredFile] = []
        damaged: list[str] = []
        for stage in self._store.stages().values():
            try:
                files += stage.stored()
            except StoreError as error:
                damaged.append(str(error))
        return files, damaged
