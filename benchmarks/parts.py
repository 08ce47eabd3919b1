"""What a stage of many small parts costs: reading a unit, coming back to it half-finished, starting when it is done.

Makes a stage of so many parts of 64 verdicts, as an interrupted stage leaves them, and prints how long each step
takes. A slice of a scan of all parts is what a unit's rows would cost without their records.

Example:
    python -m benchmarks.parts
    python -m benchmarks.parts --parts 1000 --directory /large/disk
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import polars as pl

from dasd.base.files import line_of
from dasd.pipeline.work.units import units, verdict_rows
from dasd.store import DirectoryWriter, PartRows, StageDirectory
from dasd.store.manifest import PartRecord, StageHeader, UnitRecord
from dasd.store.parts import scan

ROWS = 64
HEADER = StageHeader(name="made", kind="made", fingerprint="f" * 32, needs={}, inputs={}, started="now")
FoundT = TypeVar("FoundT")


def timed(what: str, work: Callable[[], FoundT]) -> FoundT:
    """Do ``work`` and print its time."""
    begin = time.perf_counter()
    found = work()
    print(f"{what:48s} {(time.perf_counter() - begin) * 1000:10.1f} ms", flush=True)
    return found


def make(root: Path, count: int) -> tuple[StageDirectory, list[PartRecord]]:
    """A stage all of whose units are done, and that isn't closed: ``count`` copies of one part."""
    stage = StageDirectory(root, root / "stages" / "01-made")
    stage.begin(HEADER)
    ids = pl.Series([f"{number:032x}" for number in range(ROWS)])
    first, *others = units(count * ROWS, ROWS)
    writer = writer_of(stage)
    writer.append("verdicts", verdict_rows(ids, "made", [""] * ROWS, ["x" * 2000] * ROWS), key=first.key)
    writer.finish_unit(first.key)
    (part,) = (record for record in stage.progress() if isinstance(record, PartRecord))
    data = (stage.path / part.file).read_bytes()
    parts, lines = [part], []
    for number, unit in enumerate(others, 1):
        record = part.model_copy(update={"file": f"part-verdicts-{number:05d}.parquet", "key": unit.key})
        (stage.path / record.file).write_bytes(data)
        done = UnitRecord(key=unit.key, seconds=1.0)
        lines += [line_of(each.model_dump_json().encode()) for each in (record, done)]
        parts.append(record)
    with (stage.path / "progress.jsonl").open("ab") as file:
        file.writelines(lines)
    return stage, parts


def writer_of(stage: StageDirectory) -> DirectoryWriter:
    """What a start gives the stage to write with."""

    def event(kind: str, fields: Mapping[str, object]) -> None:
        del kind, fields

    return DirectoryWriter(StageDirectory(stage.root, stage.path), HEADER, lambda _: None, event)


def main() -> None:
    """Make the stage and time each step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", type=int, default=16_000)
    parser.add_argument("--directory", type=Path, help="where to make it; else a temporary directory")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as place:
        stage, parts = make(Path(place), arguments.parts)
        time.sleep(2.5)  # until the files have settled and may be noted
        unit = units(arguments.parts * ROWS, ROWS)[arguments.parts // 2]
        rows = PartRows(stage.path, parts, "verdicts")
        everything = scan(stage.path, parts, "verdicts")
        timed("a unit's rows", lambda: unit.rows(rows))
        timed("the same, from a scan of all parts", lambda: everything.slice(unit.start, unit.size).collect())
        timed("a half-finished stage, nothing noted", lambda: writer_of(stage))
        writer = timed("a half-finished stage, all noted", lambda: writer_of(stage))
        manifest = timed("its end: parts are merged", lambda: writer.close({}))
        print(f"{len(manifest.parts)} parts are left")
        merged = PartRows(stage.path, manifest.parts, "verdicts")
        few = units(arguments.parts * ROWS, ROWS)[:100]
        timed("100 units' rows of merged parts", lambda: [each.rows(merged) for each in few])


if __name__ == "__main__":
    main()
