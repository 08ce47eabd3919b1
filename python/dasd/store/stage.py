"""One stage's directory as it lies on the disk: what it says of itself, and whether its files still hold."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dasd.base.checksums import file_checksum
from dasd.base.files import append_line, line_of, mend_lines, read_lines, remove_tree, sync, write_whole
from dasd.errors import StoreError
from dasd.store.manifest import (
    PROGRESS,
    Artifact,
    ArtifactFile,
    ArtifactRecord,
    Manifest,
    MergedRecord,
    PartRecord,
    Record,
    StageHeader,
    StartRecord,
    UnitRecord,
    read_record,
    write_record,
)
from dasd.store.parts import parts_that_stand
from dasd.store.verified import NOTES, StoredFile, Verified, look

HEADER = "stage.json"
MANIFEST = "manifest.json"
PROGRESS_FILE = "progress.jsonl"
SCRATCH = "scratch"
KEPT = "artifacts"
"""Inside a superseded stage: its artifacts, by their paths in the run directory."""


class StageDirectory:
    """``stages/NN-name`` or ``superseded/NN-name-XXXXXXXX``; ``root`` is the run directory."""

    def __init__(self, root: Path, path: Path) -> None:
        self.root = root
        self.path = path
        self._manifest: tuple[tuple[Path, int, int, int], Manifest] | None = None
        self._verified: Verified | None = None

    def header(self) -> StageHeader | None:
        """What the stage was started as; None if it never came to write that. Raises StoreError."""
        if not (self.path / HEADER).exists():
            if (self.path / MANIFEST).exists() or (self.path / PROGRESS_FILE).exists():
                raise StoreError(
                    f"{self.path / HEADER} is missing, so nothing tells what the rows there were made from. "
                    f"Restore it from a copy, or remove {self.path} to have that stage run again.",
                    self.path / HEADER,
                )
            return None
        return read_record(self.path / HEADER, StageHeader)

    def manifest(self) -> Manifest | None:
        """What the stage wrote; None while it is not done. Raises StoreError."""
        path = self.path / MANIFEST
        try:
            found = path.stat()
        except FileNotFoundError:
            return None
        seen = (path, found.st_ino, found.st_size, found.st_mtime_ns)
        if self._manifest is None or self._manifest[0] != seen:
            self._manifest = (seen, read_record(path, Manifest))
        return self._manifest[1]

    def begin(self, header: StageHeader) -> None:
        """Make the directory of a stage that starts from nothing. Raises DiskFullError."""
        remove_tree(self.path)
        self._verified = None
        self.path.mkdir(parents=True)
        write_record(self.path / HEADER, header.sealed())

    def progress(self, *, mend: bool = False) -> list[Record]:
        """Records of progress. ``mend``: cut a torn last line off the file (for the one writer)."""
        path = self.path / PROGRESS_FILE
        values = mend_lines(path) if mend else read_lines(path)
        try:
            return [PROGRESS.validate_python(value) for value in values]
        except ValueError as error:
            raise StoreError(
                f"{path} holds a line that is no record of progress. Restore the file from a copy, or remove "
                f"{self.path} to have that stage run again.",
                path,
            ) from error

    def record(self, record: Record) -> None:
        """Append a record of progress; it is on the disk when this returns."""
        append_line(self.path / PROGRESS_FILE, record.model_dump_json().encode(), durable=True)

    def recover(self) -> list[Record]:
        """Bring an interrupted stage back to its last finished unit; returns the records that stand.

        Parts of units that never finished and files that no record names are removed. Raises StoreError
        naming a part that is missing or was altered.
        """
        records = self.progress(mend=True)
        finished = {record.key for record in records if isinstance(record, UnitRecord)}
        standing = [
            record for record in records if not isinstance(record, PartRecord) or record.key in finished
        ]
        if len(standing) != len(records):
            lines = b"".join(line_of(record.model_dump_json().encode()) for record in standing)
            write_whole(self.path / PROGRESS_FILE, lines)
        parts = parts_that_stand(standing)
        named = {part.file for part in parts} | {HEADER, PROGRESS_FILE, SCRATCH, KEPT, NOTES}
        for path in self.path.iterdir():
            if path.name not in named:
                remove_tree(path)
        self.verify_parts(parts)
        self.verified.save()
        others = [record for record in standing if not isinstance(record, PartRecord | MergedRecord)]
        return [*parts, *others]

    def claims(self) -> list[str]:
        """Paths in the run directory that the stage has claimed, done or not. Raises StoreError."""
        values = read_lines(self.path / PROGRESS_FILE)
        claims = [value for value in values if isinstance(value, dict) and value.get("record") == "artifact"]
        return [ArtifactRecord.model_validate(claim).path for claim in claims]

    @property
    def verified(self) -> Verified:
        """Which files were held against their checksums, and how they looked then."""
        if self._verified is None:
            self._verified = Verified(self.path)
        return self._verified

    def files(self, manifest: Manifest) -> list[StoredFile]:
        """Every part and artifact of a finished stage."""
        artifacts = [
            StoredFile(self.root / file.path, file.path, file.bytes, file.checksum)
            for artifact in manifest.artifacts
            for file in artifact.files
        ]
        return [*self._part_files(manifest.parts), *artifacts]

    def stored(self) -> list[StoredFile]:
        """Every file that the records name, of an unfinished stage those of its finished units. Raises StoreError."""
        self.header()
        records, manifest = self.progress(), self.manifest()
        if manifest is not None:
            return self.files(manifest)
        finished = {record.key for record in records if isinstance(record, UnitRecord)}
        return self._part_files(part for part in parts_that_stand(records) if part.key in finished)

    def verify(self, manifest: Manifest) -> None:
        """Hold every part and artifact of a finished stage against its checksum. Raises StoreError."""
        self._refuse(look(self.files(manifest), None))

    def check(self, manifest: Manifest) -> None:
        """The same, but for files that look as they did when they were last held against theirs."""
        self._refuse(look(self.files(manifest), self.verified))

    def verify_parts(self, parts: Iterable[PartRecord]) -> None:
        """Hold parts against their checksums, but for those that look as they did the last time. Raises StoreError."""
        self._refuse(look(self._part_files(parts), self.verified))

    def _part_files(self, parts: Iterable[PartRecord]) -> list[StoredFile]:
        return [StoredFile(self.path / part.file, part.file, part.bytes, part.checksum) for part in parts]

    def _refuse(self, looked: Iterable[tuple[StoredFile, str | None]]) -> None:
        for file, problem in looked:
            if problem is not None:
                raise StoreError(
                    f"{file.path} {problem}. Restore it from a copy, or remove {self.path} and give the same command "
                    "again: that stage then runs again, and those after it.",
                    file.path,
                )

    def keep_artifacts(self) -> None:
        """Move the stage's artifacts into its own directory, to leave with it. Safe to repeat."""
        for claim in self.claims():
            if (self.root / claim).exists():
                move(self.root / claim, self.path / KEPT / claim)

    def return_artifacts(self) -> None:
        """Undo ``keep_artifacts``. Safe to repeat."""
        for claim in self.claims():
            if (self.path / KEPT / claim).exists():
                move(self.path / KEPT / claim, self.root / claim)
        remove_tree(self.path / KEPT)


def seconds_of(records: Iterable[Record]) -> float:
    """Working time that the starts of a stage are known to have spent, by its records of progress."""
    total = latest = 0.0
    for record in records:
        if isinstance(record, StartRecord):
            total, latest = total + latest, 0.0
        elif isinstance(record, UnitRecord):
            latest = record.seconds
    return total + latest


def move(source: Path, target: Path) -> None:
    """Rename within the run directory. Raises StoreError if it spans file systems."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        remove_tree(target)
    try:
        source.replace(target)
    except OSError as error:
        raise StoreError(
            f"{source} can't be moved to {target} ({error.strerror}). A run directory must lie on one file "
            "system; move it there by hand and give the same command again.",
            source,
        ) from error


def describe_artifact(root: Path, relative: str) -> Artifact:
    """Size and checksum of every file of an artifact, made durable. Raises StoreError if it isn't there."""
    path = root / relative
    if not path.exists():
        raise StoreError(f"the stage claimed {path} as an artifact but left nothing there", path)
    files = [path] if path.is_file() else sorted(item for item in path.rglob("*") if item.is_file())
    described = []
    for file in files:
        sync(file)
        described.append(
            ArtifactFile(
                path=file.relative_to(root).as_posix(),
                bytes=file.stat().st_size,
                checksum=file_checksum(file),
            )
        )
    for directory in {file.parent for file in files} | {path.parent}:
        sync(directory)
    return Artifact(path=relative, files=tuple(described))
