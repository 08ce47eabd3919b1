"""What a running stage may read of the stages that it needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl
from pydantic import JsonValue

from dasd.errors import StoreError
from dasd.store.manifest import Manifest
from dasd.store.parts import PartRows, scan
from dasd.store.stage import StageDirectory


class FinishedInputs:
    """``StageInputs`` over finished stages. ``owner`` is the stage that reads, for messages."""

    def __init__(self, owner: str, stages: Mapping[str, tuple[StageDirectory, Manifest]]) -> None:
        self._owner = owner
        self._stages = stages

    def _get(self, stage: str) -> tuple[StageDirectory, Manifest]:
        if stage not in self._stages:
            raise StoreError(
                f"stage {self._owner} reads stage {stage!r}, which it doesn't need; "
                f"it needs {', '.join(self._stages) or 'none'}"
            )
        return self._stages[stage]

    def frame(self, stage: str, frame: str) -> pl.LazyFrame:
        """Rows of a frame that a needed stage wrote; an empty frame with the schema's columns for none."""
        directory, manifest = self._get(stage)
        return scan(directory.path, manifest.parts, frame)

    def rows(self, stage: str, frame: str) -> PartRows:
        """The same, to be read by slices."""
        directory, manifest = self._get(stage)
        return PartRows(directory.path, manifest.parts, frame)

    def summary(self, stage: str) -> Mapping[str, JsonValue]:
        """The summary that a needed stage wrote."""
        return self._get(stage)[1].summary

    def artifact(self, stage: str) -> Path:
        """The one artifact of a needed stage. Raises StoreError unless there is exactly one."""
        directory, manifest = self._get(stage)
        if len(manifest.artifacts) != 1:
            found = ", ".join(item.path for item in manifest.artifacts) or "none"
            raise StoreError(f"stage {self._owner} wants the artifact of {stage}; it has {found}")
        return directory.root / manifest.artifacts[0].path
