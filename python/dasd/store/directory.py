"""The run directory as its one writer sees it: which stages stand, which are superseded, and the events."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path, PurePosixPath

from pydantic import JsonValue

from dasd.base.files import append_line, check_free, mend_lines, remove_tree, watch_disk, write_whole
from dasd.base.small_files import read_small
from dasd.errors import DasdError, InputError, StoreError
from dasd.store.lock import only_writer
from dasd.store.manifest import (
    DamagedError,
    Event,
    RunRecord,
    StageHeader,
    now,
    read_record,
    this_machine,
    write_record,
)
from dasd.store.node import Node, Standing, State, Written
from dasd.store.stage import HEADER, SCRATCH, StageDirectory, move
from dasd.version import __version__

RUN = "run.json"
RECIPE = "recipe.yaml"
EVENTS = "events.jsonl"
STAGES = "stages"
SUPERSEDED = "superseded"

_STAGE_NAME = re.compile(r"(\d{2,})-(.+)")


class RunDirectory:
    """A run directory; all changes to it go through here and through the writers that ``begin`` gives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[Path, StageDirectory] = {}  # they keep their manifests, which may be long

    # -- opening -----------------------------------------------------------------------------------

    @contextmanager
    def writing(self, name: str, seed: int, recipe: str) -> Iterator[str | None]:
        """Be the one writer: make the directory if need be, lock it, write run.json and recipe.yaml.

        Yields what was mended, in words. Raises InputError for a directory that holds something else or that
        can't be written, LockError, DiskFullError.
        """
        with ExitStack() as held:
            try:
                self._prepare()
                held.enter_context(only_writer(self.path))
                mended = self._describe(name, seed)
                if not (self.path / RECIPE).is_file() or read_small(self.path / RECIPE) != recipe.encode():
                    write_whole(self.path / RECIPE, recipe.encode())
                mend_lines(self.path / EVENTS)
                with watch_disk(self.path):
                    (self.path / STAGES).mkdir(exist_ok=True)
            except OSError as error:
                if isinstance(error, DasdError):
                    raise
                place = error.filename2 or error.filename or self.path
                raise InputError(
                    f"the run directory {self.path} can't be written: {place}: "
                    f"{error.strerror or error}. Make it writable (a directory or link in a file's place: move "
                    "it away), or give another path with --run."
                ) from error
            yield mended

    def _prepare(self) -> None:
        """Make the directory unless it is there. Raises InputError for one that holds something else, OSError."""
        check_free(self.path)
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file; wanted a run directory, or a path where to make one")
        if self.path.is_dir() and not (self.path / RUN).exists() and not self._started():
            others = sorted(item.name for item in self.path.iterdir() if not item.name.startswith("."))
            if others:
                raise InputError(
                    f"{self.path} has no {RUN} but holds other files (e.g. {others[0]}); give a run "
                    "directory, an empty directory, or a path where to make one"
                )
        with watch_disk(self.path):
            self.path.mkdir(parents=True, exist_ok=True)

    def _describe(self, name: str, seed: int) -> str | None:
        """Write run.json. All of it is of this start but when the run was made: the stages tell that too."""
        path = self.path / RUN
        mended = None
        try:
            created = read_record(path, RunRecord).created
        except DamagedError as error:
            started = self._started()
            created = min(started, default=now())
            if path.exists() or started:
                how = "its oldest stage's" if started else "now"
                mended = (
                    f"{path} was rebuilt, with {how} time as the run's: {error.what}. All stages are kept."
                )
        record = RunRecord(
            name=name,
            created=created,
            dasd_version=__version__,
            python=platform.python_version(),
            platform=platform.platform(),
            machine=this_machine(),
            seed=seed,
        )
        write_record(path, record.sealed())
        return mended

    def _started(self) -> list[str]:
        """When the stages that tell it were started."""
        found = []
        for folder in (STAGES, SUPERSEDED):
            for _, _, stage in self._named(folder):
                with suppress(StoreError):
                    found.append(read_record(stage / HEADER, StageHeader).started)
        return found

    def event(self, kind: str, stage: str | None, fields: Mapping[str, JsonValue]) -> None:
        """Append a line to ``events.jsonl``. Raises DiskFullError."""
        event = Event(time=now(), kind=kind, stage=stage, fields=dict(fields))
        append_line(self.path / EVENTS, event.model_dump_json().encode(), durable=False)

    # -- looking -----------------------------------------------------------------------------------

    def stages(self) -> dict[str, StageDirectory]:
        """The stages that lie in ``stages/``, by name, in the order of their numbers.

        Raises StoreError if two directories are of one stage.
        """
        found: dict[str, StageDirectory] = {}
        for _, name, path in sorted(self._named(STAGES), key=lambda item: item[:2]):
            if name in found:
                raise StoreError(
                    f"{found[name].path} and {path} are both of stage {name}; move one of them away",
                    path,
                )
            found[name] = self._stage(path)
        return found

    def _stage(self, path: Path) -> StageDirectory:
        return self._known.setdefault(path, StageDirectory(self.path, path))

    def _named(self, folder: str) -> Iterator[tuple[int, str, Path]]:
        place = self.path / folder
        for path in place.iterdir() if place.is_dir() else ():
            match = _STAGE_NAME.fullmatch(path.name)
            if match and path.is_dir():
                yield int(match[1]), match[2], path

    def survey(self, nodes: Sequence[Node]) -> dict[str, Standing]:
        """How far each stage of the graph is; changes nothing. Raises StoreError for a damaged record."""
        standings: dict[str, Standing] = {}
        written: dict[str, Written] = {}
        present = self.stages()
        for node in nodes:
            found = self.find(node, written)
            manifest = found.manifest() if found is not None else None
            if found is None:
                state: State = "changed" if node.name in present else "new"
            elif manifest is None:
                state = "partial"
            elif all(need in written for need in node.needs):
                state = "done"
                written[node.name] = Written.of(manifest)
            else:
                state = "changed"
            standings[node.name] = Standing(state, manifest if state == "done" else None)
        return standings

    def find(self, node: Node, written: Mapping[str, Written]) -> StageDirectory | None:
        """The directory, superseded or not, of this very stage made from these very inputs.

        ``written``: what each stage that is done left; needs that aren't in it are not held.
        """
        present = self.stages().get(node.name)
        if present is not None and _fits(present, node, written):
            return present
        for _, name, path in sorted(self._named(SUPERSEDED)):
            if name.startswith(f"{node.name}-{node.fingerprint[:8]}"):
                stage = self._stage(path)
                if _fits(stage, node, written):
                    return stage
        return None

    # -- changing ----------------------------------------------------------------------------------

    def arrange(self, nodes: Sequence[Node]) -> list[str]:
        """Supersede every stage that no longer fits the graph and renumber the rest.

        Returns the names of the stages that were superseded.
        """
        by_name = {node.name: node for node in nodes}
        moved = []
        for name, stage in self.stages().items():
            node = by_name.get(name)
            if node is None or not _fits(stage, node, {}):
                if self.supersede(stage):
                    moved.append(name)
            elif stage.path.name != node.directory_name:
                move(stage.path, self.path / STAGES / node.directory_name)
        return moved

    def supersede(self, stage: StageDirectory) -> bool:
        """Move a stage and its artifacts to ``superseded/``; one that a kill left empty is removed.

        Returns whether there was a result to move. Raises StoreError for a directory that is no stage.
        """
        header = stage.header()
        if header is None:
            others = sorted(item.name for item in stage.path.iterdir() if not item.name.startswith("."))
            if others:
                raise StoreError(
                    f"{stage.path} is no stage of this run: it holds {others[0]}; move it away", stage.path
                )
            remove_tree(stage.path)
            return False
        stage.keep_artifacts()
        wanted = f"{stage.path.name}-{header.fingerprint[:8]}"
        target = self.path / SUPERSEDED / wanted
        count = 1
        while target.exists():
            count += 1
            target = target.with_name(f"{wanted}-{count}")
        move(stage.path, target)
        self.event("superseded", header.name, {"to": f"{SUPERSEDED}/{target.name}"})
        return True

    def settle(
        self, node: Node, written: Mapping[str, Written]
    ) -> tuple[StageDirectory, StageHeader, Standing]:
        """Put in place what there is of a stage all of whose needs are done, ready to go on or to be skipped.

        A result that doesn't fit is superseded, one that was superseded and fits again is moved back, a
        finished one's files are held against their checksums unless they look as they did the last time (StoreError
        names the file).
        """
        found = self.find(node, written)
        present = self.stages().get(node.name)
        stage = self._stage(self.path / STAGES / node.directory_name)
        if present is not None and (found is None or found.path != present.path):
            self.supersede(present)
        if found is not None and found.path != stage.path:
            move(found.path, stage.path)
            self.event("restored", node.name, {"from": f"{SUPERSEDED}/{found.path.name}"})
        if found is None:
            header = StageHeader(
                name=node.name,
                kind=node.kind,
                fingerprint=node.fingerprint,
                needs=dict(node.needs),
                inputs=node.inputs(written),
                started=now(),
            )
            with watch_disk(self.path):
                stage.begin(header)
            return stage, header, Standing("new", None)
        stage.return_artifacts()
        manifest = stage.manifest()
        known = stage.header()
        if known is None:
            raise StoreError(f"{stage.path} has lost its header while it was put in place", stage.path)
        if manifest is None:
            return stage, known, Standing("partial", None)
        stage.check(manifest)
        stage.verified.save()
        remove_tree(stage.path / SCRATCH)  # a kill right after the manifest left it
        return stage, known, Standing("done", manifest)

    def claim(self, owner: str, relative: str) -> None:
        """Let stage ``owner`` have a path for an artifact; what lies there and is nobody's is moved away.

        Raises StoreError if another stage has that path, or one above or below it.
        """
        wanted = PurePosixPath(relative)
        for name, stage in self.stages().items():
            for claim in stage.claims() if name != owner else ():
                other = PurePosixPath(claim)
                if wanted.is_relative_to(other) or other.is_relative_to(wanted):
                    raise StoreError(f"stage {owner} wants {relative}, which belongs to stage {name}")
        path = self.path / relative
        if path.exists() or path.is_symlink():
            count = 1
            while (target := self.path / SUPERSEDED / f"unowned-{count}" / relative).exists():
                count += 1
            move(path, target)
            self.event("unowned", owner, {"path": relative, "to": str(target.relative_to(self.path))})


def _fits(stage: StageDirectory, node: Node, written: Mapping[str, Written]) -> bool:
    header = stage.header()
    return (
        header is not None
        and header.name == node.name
        and header.fingerprint == node.fingerprint
        and all(header.inputs.get(name) == content for name, content in node.inputs(written).items())
    )
