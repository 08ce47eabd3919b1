"""Small parts become few when a stage ends, and a kill at any moment leaves the old ones or the new."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from dasd.base.files import read_lines
from dasd.errors import DiskFullError, StoreError
from dasd.store import DirectoryWriter, StageDirectory, compaction, verified
from dasd.store import stage as stage_module
from dasd.store.manifest import StageHeader
from dasd.store.parts import scan
from dasd.store.verified import NOTES

HEADER = StageHeader(name="judge", kind="filter", fingerprint="f" * 32, needs={}, inputs={}, started="now")
UNITS = 40
ROWS = 3


class KilledError(BaseException):
    """Stands for a kill: nothing may catch it."""


def ids(number: int) -> list[str]:
    return [f"s{number}-{row}" for row in range(ROWS)]


EVERYTHING = [name for number in range(UNITS) for name in ids(number)]


@pytest.fixture
def stage(tmp_path: Path) -> StageDirectory:
    made = StageDirectory(tmp_path, tmp_path / "stages" / "01-judge")
    made.begin(HEADER)
    return made


def writer_of(stage: StageDirectory) -> DirectoryWriter:
    return DirectoryWriter(stage, HEADER, lambda _: None, lambda *_: None)


def filled(stage: StageDirectory) -> DirectoryWriter:
    """All units done; those of two lists after one another."""
    writer = writer_of(stage)
    for number in range(UNITS):
        key = f"{'late-' if number >= UNITS // 2 else ''}{number:08d}-{number + 1:08d}"
        rows = pl.DataFrame(
            {"sample_id": ids(number), "stage": "s", "kept": True, "reason": "", "detail": ""}
        )
        writer.append("verdicts", rows, key=key)
        writer.finish_unit(key)
    return writer


def test_few_parts_with_the_same_rows(stage: StageDirectory) -> None:
    manifest = filled(stage).close({})
    files = [part.file for part in manifest.parts]
    assert files == ["part-verdicts-00000-00019.parquet", "part-verdicts-00020-00039.parquet"]
    assert sorted(item.name for item in stage.path.iterdir() if item.name != NOTES) == sorted(
        [*files, "manifest.json", "progress.jsonl", "stage.json"]
    )
    assert manifest.rows == {"verdicts": UNITS * ROWS}
    assert scan(stage.path, manifest.parts, "verdicts").collect()["sample_id"].to_list() == EVERYTHING
    assert pl.read_parquet(stage.path / "part-*.parquet")["sample_id"].to_list() == EVERYTHING
    stage.verify(manifest)


def test_notes_of_merged_parts_are_gone(stage: StageDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verified, "SETTLED_SECONDS", 0.0)  # each is noted at once
    files = [part.file for part in filled(stage).close({}).parts]
    assert [line["file"] for line in read_lines(stage.path / NOTES)] == files
    again = StageDirectory(stage.root, stage.path)
    manifest = again.manifest()
    assert manifest is not None
    monkeypatch.setattr(verified, "file_checksum", None)  # nothing is to be read
    again.check(manifest)


def test_bounds_of_a_part(stage: StageDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "PART_ROWS", 7 * ROWS)
    manifest = filled(stage).close({})
    assert [part.rows // ROWS for part in manifest.parts] == [7, 7, 6, 7, 7, 6]


def test_few_parts_stay(stage: StageDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "FEW", UNITS)
    assert len(filled(stage).close({}).parts) == UNITS


def test_a_kill_at_any_moment(stage: StageDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before and after every change that is made to the disk."""
    monkeypatch.setattr(compaction, "PART_ROWS", 10 * ROWS)
    filled(stage)
    left = 0

    def step() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise KilledError

    right_write, right_append, right_unlink = (
        compaction.write_whole,
        stage_module.append_line,
        Path.unlink,
    )

    def write(path: Path, data: bytes) -> None:
        step()
        right_write(path, data)
        step()

    def append(path: Path, record: bytes, *, durable: bool) -> None:
        step()
        right_append(path, record, durable=durable)
        step()

    def unlink(path: Path, missing_ok: bool = False) -> None:
        step()
        right_unlink(path, missing_ok=missing_ok)

    kills = 0
    while not (stage.path / "manifest.json").exists():
        again = StageDirectory(stage.root, stage.path)
        writer = writer_of(again)  # comes back from whatever the kill left
        assert writer.rows("verdicts").slice(0, 10**6)["sample_id"].to_list() == EVERYTHING
        assert writer.rows("verdicts", "late-").height == UNITS * ROWS // 2
        with monkeypatch.context() as patch:
            left = 2 + kills % 13
            patch.setattr(compaction, "write_whole", write)
            patch.setattr(stage_module, "append_line", append)
            patch.setattr(Path, "unlink", unlink)
            try:
                writer.close({})
            except KilledError:
                kills += 1
        assert kills < 100
    assert kills > 4
    manifest = StageDirectory(stage.root, stage.path).manifest()
    assert manifest is not None
    stage.verify(manifest)
    assert scan(stage.path, manifest.parts, "verdicts").collect()["sample_id"].to_list() == EVERYTHING


def test_an_altered_part_is_not_merged(stage: StageDirectory) -> None:
    writer = filled(stage)
    part = stage.path / "part-verdicts-00007.parquet"
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    with pytest.raises(StoreError, match=r"part-verdicts-00007\.parquet was altered"):
        writer.close({})


def test_a_full_disk_leaves_the_parts(stage: StageDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = filled(stage)

    def full(path: Path, data: bytes) -> None:
        raise DiskFullError(f"no room for {len(data)} bytes", path)

    monkeypatch.setattr(compaction, "write_whole", full)
    assert len(writer.close({}).parts) == UNITS


def test_a_stage_that_lost_its_manifest_comes_back(stage: StageDirectory) -> None:
    filled(stage).close({})
    (stage.path / "manifest.json").unlink()
    writer = writer_of(StageDirectory(stage.root, stage.path))
    assert len(writer.done()) == UNITS
    assert writer.read("verdicts").collect()["sample_id"].to_list() == EVERYTHING
