"""What a stage is, and what it gets to work with. The runner (``dasd.pipeline.runner``) knows nothing more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import polars as pl
from pydantic import JsonValue

from dasd.base.progress import Console
from dasd.models.pool import ModelPool
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry
from dasd.store import PartRows


class StageWriter(Protocol):
    """The running stage's own directory. Parts appear whole or not at all, and survive a kill."""

    @property
    def directory(self) -> Path:
        """``runs/NAME/stages/NN-name``."""
        ...

    def append(self, frame: str, rows: pl.DataFrame, key: str = "") -> None:
        """Write ``rows`` (checked against the schema named ``frame``) as one durable part.

        ``key`` names the unit of work that these rows finish; a unit may append several frames, and counts
        as done once ``finish_unit`` is called.
        """
        ...

    def finish_unit(self, key: str) -> None:
        """Mark a unit of work done. Parts of units that never finished are removed at the next start."""
        ...

    def done(self) -> Set[str]:
        """Keys of the finished units, by earlier starts of this stage too; kept up as units end."""
        ...

    def read(self, frame: str) -> pl.LazyFrame:
        """What this stage has appended so far."""
        ...

    def rows(self, frame: str, keys: str = "") -> PartRows:
        """The same, to be read by slices; ``keys``: of units whose key begins so."""
        ...

    def artifact(self, relative: str) -> Path:
        """A path inside the run directory that belongs to this stage, e.g. ``checkpoints/stage1``.

        Its files are checksummed into the manifest when the stage ends, and leave with the stage.
        """
        ...

    def scratch(self) -> Path:
        """A directory for state while the stage runs; kept over kills, removed when the stage ends."""
        ...

    def summarise(self, summary: Mapping[str, JsonValue]) -> None:
        """Figures for the manifest, the terminal and the report."""
        ...

    def event(self, kind: str, **fields: JsonValue) -> None:
        """Append a line to ``events.jsonl``."""
        ...


class StageInputs(Protocol):
    """Finished stages of the same run, by the names in ``Stage.needs``."""

    def frame(self, stage: str, frame: str) -> pl.LazyFrame:
        """A frame that a needed stage wrote."""
        ...

    def rows(self, stage: str, frame: str) -> PartRows:
        """The same, to be read by slices."""
        ...

    def summary(self, stage: str) -> Mapping[str, JsonValue]:
        """The summary that a needed stage wrote."""
        ...

    def artifact(self, stage: str) -> Path:
        """The one artifact of a needed stage, e.g. a training's checkpoint directory."""
        ...


@dataclass(frozen=True, slots=True)
class StageContext:
    """Everything that a stage may touch."""

    name: str
    recipe: Recipe
    registry: Registry
    models: ModelPool
    writer: StageWriter
    inputs: StageInputs
    console: Console


class Stage(Protocol):
    """One node of the graph."""

    @property
    def name(self) -> str:
        """Unique in the run, e.g. ``sample-low``; the directory is ``NN-`` and this."""
        ...

    @property
    def kind(self) -> str:
        """What it does, e.g. ``sample``; the command of this name runs it alone."""
        ...

    @property
    def needs(self) -> Sequence[str]:
        """Names of the stages that it reads; their fingerprints enter its own."""
        ...

    @property
    def frame(self) -> str:
        """Frame whose rows stand for what it has done, e.g. ``samples``; plans count them."""
        ...

    @property
    def passes_on(self) -> str | None:
        """Figure of its summary: how many responses there are for the stages after it; None where it makes none."""
        ...

    def settings(self) -> Mapping[str, JsonValue]:
        """All that changes its result besides its inputs: its part of the recipe, models' content
        fingerprints, versions of engines and plugins. Enters the fingerprint."""
        ...

    def run(self, context: StageContext) -> None:
        """Do the work; idempotent unit by unit."""
        ...


@runtime_checkable
class HangsOnNeeds(Protocol):
    """A stage with settings that only what it reads decides, such as the verifiers that questions name."""

    def settings_by_needs(self, summaries: Mapping[str, Mapping[str, JsonValue]]) -> Mapping[str, JsonValue]:
        """More settings, by the summary of each stage in ``needs``. Held when these are done, like ``settings``."""
        ...
