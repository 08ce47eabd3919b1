"""What a run directory says about itself: records of progress, headers and manifests of stages, run.json."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from dasd.base.checksums import checksum
from dasd.base.files import canonical_json, write_whole
from dasd.base.small_files import read_small
from dasd.errors import StoreError

FORMAT = 1
"""Version of the layout of a run directory."""


class Record(BaseModel):
    """Base of everything that is stored: fields of a newer dasd are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class PartRecord(Record):
    """One Parquet file of rows."""

    record: Literal["part"] = "part"
    file: str
    frame: str
    key: str
    rows: int
    bytes: int
    checksum: str


class UnitRecord(Record):
    """One unit of work that is done."""

    record: Literal["unit"] = "unit"
    key: str
    seconds: float
    """Since this start of the stage."""


class StartRecord(Record):
    """The stage was started, or started again after an interruption."""

    record: Literal["start"] = "start"
    time: str


class ArtifactRecord(Record):
    """A path in the run directory that the stage has claimed."""

    record: Literal["artifact"] = "artifact"
    path: str


class MergedRecord(Record):
    """Parts that follow one another became one; from here on their files don't count."""

    record: Literal["merged"] = "merged"
    part: PartRecord
    of: tuple[str, ...]
    """Their files, in order."""


Progress = PartRecord | UnitRecord | StartRecord | ArtifactRecord | MergedRecord
PROGRESS: TypeAdapter[Progress] = TypeAdapter(Annotated[Progress, Field(discriminator="record")])


class ArtifactFile(Record):
    """One file of an artifact; ``path`` is relative to the run directory."""

    path: str
    bytes: int
    checksum: str


class Artifact(Record):
    """A file or directory outside the stage's own that belongs to it."""

    path: str
    files: tuple[ArtifactFile, ...]


class Sealed(Record):
    """A record that knows when it was altered."""

    checksum: str = ""
    """Of all the rest, by ``sum``; empty in a run of an older dasd."""

    def sum(self) -> str:
        """Digest of every other field."""
        return digest(self.model_dump(mode="json", exclude={"checksum"}))

    def sealed(self) -> Self:
        """The same with its checksum, to be stored."""
        return self.model_copy(update={"checksum": self.sum()})


class StageHeader(Sealed):
    """``stage.json``: written before anything else of a stage, so that old parts never meet new settings."""

    format: int = FORMAT
    name: str
    kind: str
    fingerprint: str
    needs: dict[str, str]
    """Fingerprint of each stage that it reads."""
    inputs: dict[str, str]
    """Digest of what each stage that it reads really wrote, and of the settings that hang on that."""
    started: str


class Manifest(StageHeader):
    """``manifest.json``: the header again and what was written. Comes last; a stage that has one is done."""

    settings: dict[str, JsonValue]
    dasd_version: str
    versions: dict[str, str]
    """Of Python and the libraries that were loaded when the stage ended."""
    parts: tuple[PartRecord, ...]
    rows: dict[str, int]
    """Rows a frame."""
    artifacts: tuple[Artifact, ...]
    summary: dict[str, JsonValue]
    finished: str
    seconds: float
    """Working time over all starts of the stage."""

    def content(self) -> str:
        """Digest of all that a later stage can read from this one: rows, artifacts, summary."""
        return digest(
            {
                "parts": [[part.frame, part.rows, part.checksum] for part in self.parts],
                "artifacts": [[file.path, file.checksum] for item in self.artifacts for file in item.files],
                "summary": self.summary,
            }
        )


class Machine(Record):
    """What the run was last started on."""

    cpu: str
    cores: int
    memory_bytes: int
    accelerators: tuple[str, ...]
    """Names; known only if torch was loaded already."""


class RunRecord(Sealed):
    """``run.json``."""

    format: int = FORMAT
    name: str
    created: str
    dasd_version: str
    python: str
    platform: str
    machine: Machine
    seed: int


class Event(Record):
    """One line of ``events.jsonl``."""

    time: str
    kind: str
    stage: str | None = None
    fields: dict[str, JsonValue] = Field(default_factory=dict)


class DamagedError(StoreError):
    """A record that can't be read as what it is. ``what`` is wrong with it, in words."""

    def __init__(self, path: Path, model: type[Record], what: str) -> None:
        remedy = (
            f"give the command that made the run again, or `dasd pipeline RECIPE --run {path.parent}`: it is "
            "written anew, and every stage is kept"
            if model is RunRecord
            else f"restore it from a copy, or remove {path.parent} to have that stage done again"
        )
        super().__init__(f"{path} is damaged: {what}. To go on, {remedy}.", path)
        self.what = what


RecordT = TypeVar("RecordT", bound=Record)


def digest(value: object) -> str:
    """blake2b of a JSON value in canonical form, 32 hexadecimal digits."""
    return checksum(canonical_json(value))


def fingerprint(kind: str, name: str, settings: Mapping[str, JsonValue], needs: Mapping[str, str]) -> str:
    """Fingerprint of a stage: its kind, name and settings, and the fingerprints of the stages it reads."""
    return digest({"kind": kind, "name": name, "settings": dict(settings), "needs": dict(needs)})


def now() -> str:
    """The time, ISO 8601 in UTC to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def read_record(path: Path, model: type[RecordT]) -> RecordT:
    """A stored record. Raises DamagedError naming the file if it is missing, torn or altered, StoreError if newer."""
    try:
        data = read_small(path)
    except OSError as error:
        raise DamagedError(path, model, f"it can't be read: {error.strerror}") from error
    found = _format(data)  # first of all: what else a newer dasd writes isn't known here
    if found > FORMAT:
        raise StoreError(
            f"{path} has format {found}, this dasd knows formats up to {FORMAT}; upgrade dasd", path
        )
    try:
        record = model.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(key) for key in first["loc"]) or "the file"
        what = f"it is not a {model.__name__} record: {where}: {first['msg']}; it was torn or altered"
        raise DamagedError(path, model, what) from error
    if isinstance(record, Sealed) and record.checksum not in ("", record.sum()):
        raise DamagedError(path, model, "it was altered: its checksum is not that of what was written")
    return record


def _format(data: bytes) -> int:
    """The format that a record says it has; 0 for what says none."""
    with suppress(ValueError, RecursionError):
        value = json.loads(data)
        if isinstance(value, dict) and type(value.get("format")) is int:
            return int(value["format"])
    return 0


def write_record(path: Path, record: Record) -> None:
    """Store a record, indented for people, whole or not at all."""
    write_whole(path, record.model_dump_json(indent=2).encode() + b"\n")


def loaded_versions() -> dict[str, str]:
    """Versions of Python and of those libraries that are loaded by now."""
    versions = {"python": platform.python_version()}
    for name in ("polars", "numpy", "torch", "transformers", "tokenizers", "safetensors"):
        if name in sys.modules:
            with suppress(PackageNotFoundError):
                versions[name] = version(name)
    return versions


def this_machine() -> Machine:
    """The machine that this process runs on; loads nothing."""
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    accelerators: tuple[str, ...] = ()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        accelerators = tuple(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        memory = 0
    return Machine(cpu=cpu, cores=cores, memory_bytes=memory, accelerators=accelerators)
