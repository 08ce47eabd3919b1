"""``export_run``: a directory of data files, the receiving tool's configuration and a manifest, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from dasd.base.checksums import file_checksum
from dasd.base.files import disk_full, means_full, remove_tree, watch_disk
from dasd.base.progress import Console
from dasd.base.rows_file import FileFormat
from dasd.base.small_files import read_small
from dasd.errors import InputError, LockError
from dasd.plugins.exports import Exported, ExportRun
from dasd.plugins.registry import Registry
from dasd.results.export.gather import Rows, gather
from dasd.store import Run
from dasd.store.lock import LOCK
from dasd.store.origin import Origin, origin_of
from dasd.version import __version__

__all__ = ["EXPORTS", "MANIFEST", "ExportManifest", "export_run"]

EXPORTS = Path("exports")
"""Where exports are made when no directory is given, under the names of run and format."""
MANIFEST = "export.json"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ManifestFile(_Record):
    """One file of the export."""

    path: str
    bytes: int
    checksum: str
    stage: str | None = None
    """The training whose rows it holds; None for a configuration and the like."""
    rows: int | None = None


class ManifestStage(_Record):
    """One training."""

    name: str
    number: int
    kind: Literal["off-policy", "mixed-policy"]
    temperature: float
    rows: int


class ExportManifest(_Record):
    """``export.json``: what was exported, what the format lacks, and how to go on. Holds neither time nor place."""

    format: str
    plugin: str
    dasd: str
    run: str
    rows: Literal["trained", "sampled"]
    options: dict[str, JsonValue]
    teacher: str
    student: str
    system_prompt: str | None
    origin: Origin | None = None
    """The run that selected the responses, where it is another one."""
    stages: tuple[ManifestStage, ...]
    files: tuple[ManifestFile, ...]
    left_out: tuple[str, ...]
    """Trainings that aren't in it, and why."""
    lost: tuple[str, ...]
    """What of the training the format doesn't carry."""
    use: tuple[str, ...]


def export_run(
    run: Run | Path | str,
    to: str,
    output: Path | str | None = None,
    *,
    stages: Sequence[str] = (),
    rows: Rows = "trained",
    files: FileFormat | None = None,
    options: Mapping[str, JsonValue] | None = None,
    registry: Registry | None = None,
    console: Console | None = None,
) -> tuple[Path, ExportManifest]:
    """Write what ``run`` trains on in the format ``to``; returns the directory and its manifest.

    ``output``: the directory, ``exports/RUN-FORMAT`` by default; an earlier export there is replaced, anything
    else is refused. ``stages``, ``rows`` and ``files``: see ``gather``. ``options``: the exporter's own.
    ``registry``: where exporters are looked up, the built-ins and all installed plugins by default. The same run
    gives the same bytes. Raises InputError, PluginError, RecipeError (options), DiskFullError.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    console = console or Console(quiet=True)
    if registry is None:
        from dasd.plugins.host import PluginHost

        registry = PluginHost.load(warn=console.warn).registry
    given = registry.checked_options("exporter", to, options or {}, "options")
    exporter = registry.make_exporter(to, given)
    place = Path(output) if output is not None else EXPORTS / f"{run.directory.absolute().name}-{to}"
    wanted, left_out = gather(run, stages=stages, rows=rows, files=files, scratch=_scratch_of(place))
    for sentence in left_out:
        console.warn(sentence)
    refuse_foreign(place)
    with _scratch(place) as scratch:
        staged = scratch / place.name
        staged.mkdir()
        try:
            total = sum(stage.rows for stage in wanted.stages)
            with console.task(f"export to {to}", total, "rows") as task:
                exported = exporter.export(replace(wanted, on_rows=task.advance), staged)
            manifest = _manifest(
                registry, to, given, rows, wanted, origin_of(run), exported, left_out, staged
            )
            text = manifest.model_dump_json(indent=2)
            (staged / MANIFEST).write_text(text + "\n", encoding="utf-8")
        except Exception as error:
            if means_full(error, place.parent):
                raise disk_full(place.parent, None) from error
            raise
        refuse_foreign(place)
        if place.exists():
            place.rename(scratch / "before")
        staged.rename(place)
    for sentence in manifest.lost:
        console.warn(f"{to}: {sentence}")
    return place, manifest


def _scratch_of(place: Path) -> Path:
    return place.parent / f".{place.name}.partial"


@contextmanager
def _scratch(place: Path) -> Iterator[Path]:
    """Where an export is built, beside ``place``; what a killed one left there is removed. Raises LockError."""
    scratch = _scratch_of(place)
    with watch_disk(place.parent):
        scratch.mkdir(parents=True, exist_ok=True)
        lock = FileLock(scratch / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise LockError(
                f"{place} is being written by another export; wait until it ends", place
            ) from None
    try:
        for left in scratch.iterdir():
            if left.name != LOCK:
                remove_tree(left)
        yield scratch
    finally:
        remove_tree(scratch)
        lock.release()


def _manifest(
    registry: Registry,
    to: str,
    options: dict[str, JsonValue],
    rows: Rows,
    run: ExportRun,
    origin: Origin | None,
    exported: Exported,
    left_out: Sequence[str],
    directory: Path,
) -> ExportManifest:
    data = {file.path: file for file in exported.files}
    described = [
        ManifestFile(
            path=(name := path.relative_to(directory).as_posix()),
            bytes=path.stat().st_size,
            checksum=file_checksum(path),
            stage=data[name].stage if name in data else None,
            rows=data[name].rows if name in data else None,
        )
        for path in sorted(item for item in directory.rglob("*") if item.is_file())
    ]
    owner = registry.component("exporter", to).owner
    return ExportManifest(
        format=to,
        plugin=f"{owner.distribution} {owner.version}",
        dasd=__version__,
        run=run.name,
        rows=rows,
        options=options,
        teacher=run.teacher.model,
        student=run.student.model,
        system_prompt=run.system_prompt,
        origin=origin,
        stages=tuple(
            ManifestStage(
                name=stage.name,
                number=stage.number,
                kind=stage.kind,
                temperature=stage.temperature,
                rows=sum(file.rows for file in exported.files if file.stage == stage.name),
            )
            for stage in run.stages
        ),
        files=tuple(described),
        left_out=tuple(left_out),
        lost=exported.lost,
        use=exported.use,
    )


def refuse_foreign(place: Path) -> None:
    """InputError unless nothing is at ``place``, or only what an earlier export wrote there."""
    if not place.exists():
        return
    if not place.is_dir():
        raise InputError(f"{place} is a file; wanted a directory for the export, new or empty")
    present = {item.relative_to(place).as_posix() for item in place.rglob("*") if not item.is_dir()}
    if not present:
        return
    advice = "name another directory with --output, or remove it"
    try:
        known = ExportManifest.model_validate_json(read_small(place / MANIFEST))
    except (OSError, ValidationError):
        raise InputError(f"{place} holds something that is no export of dasd; {advice}") from None
    foreign = sorted(present - {MANIFEST} - {file.path for file in known.files})
    if foreign:
        raise InputError(
            f"{place} holds an earlier export and {len(foreign)} other files, e.g. {foreign[0]}; {advice}"
        )
