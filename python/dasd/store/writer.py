"""The running stage's writer: durable parts, units of work, artifacts, and the manifest at the end."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping, Set
from pathlib import Path, PurePosixPath

import polars as pl
from pydantic import JsonValue

from dasd.base.checksums import checksum
from dasd.base.files import plain_json, remove_tree, sync, watch_disk, write_whole
from dasd.base.schemas import ALL, check
from dasd.errors import StoreError
from dasd.store.compaction import compact
from dasd.store.manifest import (
    ArtifactRecord,
    Manifest,
    PartRecord,
    StageHeader,
    StartRecord,
    UnitRecord,
    loaded_versions,
    now,
    write_record,
)
from dasd.store.parts import PartRows, number_of, scan
from dasd.store.stage import MANIFEST, SCRATCH, StageDirectory, describe_artifact, seconds_of
from dasd.version import __version__

RESERVED = frozenset({"stages", "superseded", "run.json", "recipe.yaml", "events.jsonl"})


class DirectoryWriter:
    """``StageWriter`` over a stage's directory that is begun or recovered already.

    ``claim`` is asked before an artifact's path is claimed and clears what lies there unowned;
    ``event`` appends to the run's events.
    """

    def __init__(
        self,
        stage: StageDirectory,
        header: StageHeader,
        claim: Callable[[str], None],
        event: Callable[[str, Mapping[str, JsonValue]], None],
    ) -> None:
        self._stage = stage
        self._header = header
        self._claim = claim
        self._event = event
        records = stage.recover()
        self._parts = [record for record in records if isinstance(record, PartRecord)]
        self._next: dict[str, int] = {}  # the number of each frame's next part
        for part in self._parts:
            self._next[part.frame] = max(self._next.get(part.frame, 0), number_of(part.file) + 1)
        self._done = {record.key for record in records if isinstance(record, UnitRecord)}
        self._artifacts = [record.path for record in records if isinstance(record, ArtifactRecord)]
        self._summary: dict[str, JsonValue] = {}
        self._seconds_before = seconds_of(records)
        self._clock = time.monotonic()
        stage.record(StartRecord(time=now()))

    @property
    def directory(self) -> Path:
        """``runs/NAME/stages/NN-name``."""
        return self._stage.path

    @property
    def seconds(self) -> float:
        """Working time over all starts of the stage so far."""
        return self._seconds_before + time.monotonic() - self._clock

    def append(self, frame: str, rows: pl.DataFrame, key: str = "") -> None:
        """Write ``rows`` as one durable part of the unit ``key``.

        Rows without a key stand once the stage ends; a kill before that removes them. Raises SchemaError if
        the rows break the schema named ``frame``, StoreError if there is none or the unit is done already,
        DiskFullError.
        """
        if frame not in ALL:
            raise StoreError(
                f"stage {self._header.name}: no frame is named {frame!r}; known: {', '.join(ALL)}"
            )
        if key in self._done:
            raise StoreError(f"stage {self._header.name}: unit {key!r} is done; nothing can be added to it")
        checked = check(rows, ALL[frame], f"stage {self._header.name}")
        buffer = io.BytesIO()
        checked.write_parquet(buffer, compression="zstd")
        data = buffer.getvalue()
        number = self._next.get(frame, 0)
        file = f"part-{frame}-{number:05d}.parquet"
        write_whole(self.directory / file, data)
        part = PartRecord(
            file=file, frame=frame, key=key, rows=checked.height, bytes=len(data), checksum=checksum(data)
        )
        self._stage.record(part)
        self._stage.verified.saw(file, part.checksum, (self.directory / file).stat())
        self._stage.verified.save()
        self._parts.append(part)
        self._next[frame] = number + 1

    def finish_unit(self, key: str) -> None:
        """Mark a unit of work done; the second time does nothing. Raises DiskFullError."""
        if key in self._done:
            return
        self._stage.record(UnitRecord(key=key, seconds=time.monotonic() - self._clock))
        self._done.add(key)

    def done(self) -> Set[str]:
        """Keys of the units that are done, by this start of the stage or an earlier one; kept up as units end."""
        return self._done

    def read(self, frame: str) -> pl.LazyFrame:
        """What this stage has appended so far and a kill hasn't undone."""
        return scan(self.directory, self._parts, frame)

    def rows(self, frame: str, keys: str = "") -> PartRows:
        """The same, to be read by slices; ``keys``: of units whose key begins so."""
        parts = (part for part in self._parts if part.key.startswith(keys))
        return PartRows(self.directory, parts, frame)

    def artifact(self, relative: str) -> Path:
        """Claim a path inside the run directory; its parent exists, the path itself may not.

        Raises StoreError for a path outside, in use by the run itself, or claimed by another stage.
        """
        path = PurePosixPath(relative)
        if path.is_absolute() or not path.parts or ".." in path.parts or path.parts[0] in RESERVED:
            raise StoreError(
                f"stage {self._header.name}: an artifact can't be {relative!r}; wanted a path inside the run "
                "directory, such as checkpoints/stage1"
            )
        relative = path.as_posix()
        target = self._stage.root / relative
        if relative not in self._artifacts:
            self._claim(relative)
            self._stage.record(ArtifactRecord(path=relative))
            self._artifacts.append(relative)
        with watch_disk(self._stage.root):
            target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def scratch(self) -> Path:
        """A directory for state while the stage runs; kept over kills, removed when the stage ends."""
        path = self.directory / SCRATCH
        with watch_disk(self.directory):
            path.mkdir(exist_ok=True)
        return path

    def summarise(self, summary: Mapping[str, JsonValue]) -> None:
        """Add figures for the manifest, the terminal and the report; the same key again replaces it."""
        for key, value in summary.items():
            self._summary[key] = plain_json(value, f"summary of stage {self._header.name}: {key}")

    def event(self, kind: str, **fields: JsonValue) -> None:
        """Append a line to ``events.jsonl``."""
        self._event(kind, fields)

    def close(self, settings: Mapping[str, JsonValue]) -> Manifest:
        """End the stage: merge small parts, describe the artifacts, write the manifest, drop the scratch directory.

        Raises StoreError if a unit was begun and never finished, or an artifact was claimed and isn't there.
        """
        open_units = sorted({part.key for part in self._parts if part.key and part.key not in self._done})
        if open_units:
            raise StoreError(
                f"stage {self._header.name} ended with units that it never finished: {open_units}"
            )
        self._parts = compact(self._stage, self._parts, self._done)
        rows: dict[str, int] = {}
        for part in self._parts:
            rows[part.frame] = rows.get(part.frame, 0) + part.rows
        manifest = Manifest(
            name=self._header.name,
            kind=self._header.kind,
            fingerprint=self._header.fingerprint,
            needs=self._header.needs,
            inputs=self._header.inputs,
            settings=dict(settings),
            dasd_version=__version__,
            versions=loaded_versions(),
            parts=tuple(self._parts),
            rows=rows,
            artifacts=tuple(describe_artifact(self._stage.root, item) for item in self._artifacts),
            summary=self._summary,
            started=self._header.started,
            finished=now(),
            seconds=round(self.seconds, 3),
        ).sealed()
        write_record(self.directory / MANIFEST, manifest)
        self._stage.verified.save()
        remove_tree(self.directory / SCRATCH)
        sync(self.directory)
        return manifest
