"""What a start hashes again and what it doesn't, by the notes of what was verified."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from dasd.errors import StoreError
from dasd.store import DirectoryWriter, StageDirectory, verified
from dasd.store.manifest import Manifest, StageHeader
from dasd.store.verified import NOTES, SETTLED_SECONDS

HEADER = StageHeader(name="judge", kind="filter", fingerprint="f" * 32, needs={}, inputs={}, started="now")
PART = "part-verdicts-00001.parquet"


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the files that were read to be hashed."""
    names: list[str] = []
    right = verified.file_checksum

    def noted(path: Path) -> str:
        names.append(path.name)
        return right(path)

    monkeypatch.setattr(verified, "file_checksum", noted)
    yield names


def finished(root: Path, parts: int = 3) -> tuple[StageDirectory, Manifest]:
    stage = StageDirectory(root, root / "stages" / "01-judge")
    stage.begin(HEADER)
    writer = DirectoryWriter(stage, HEADER, lambda _: None, lambda *_: None)
    for number in range(parts):
        rows = pl.DataFrame(
            {"sample_id": [f"s{number}"], "stage": "s", "kept": True, "reason": "", "detail": ""}
        )
        writer.append("verdicts", rows, key=f"u{number}")
        writer.finish_unit(f"u{number}")
    return stage, writer.close({})


def grow_old(stage: StageDirectory) -> None:
    """As if the parts had been written long ago."""
    for part in stage.path.glob("part-*"):
        past = part.stat().st_mtime_ns - int(2 * SETTLED_SECONDS * 1e9)
        os.utime(part, ns=(past, past))


def start(stage: StageDirectory, manifest: Manifest) -> None:
    """What a start of the run does to a finished stage."""
    again = StageDirectory(stage.root, stage.path)
    again.check(manifest)
    again.verified.save()


def test_a_second_start_hashes_nothing(tmp_path: Path, hashed: list[str]) -> None:
    stage, manifest = finished(tmp_path)
    grow_old(stage)
    start(stage, manifest)
    assert sorted(hashed) == [part.file for part in manifest.parts]
    hashed.clear()
    start(stage, manifest)
    assert hashed == []


def test_young_files_are_hashed_again(tmp_path: Path, hashed: list[str]) -> None:
    stage, manifest = finished(tmp_path)
    ahead = max(part.stat().st_mtime_ns for part in stage.path.glob("part-*")) + 10**12
    os.utime(stage.path / PART, ns=(ahead, ahead))
    start(stage, manifest)
    hashed.clear()
    start(stage, manifest)
    assert PART in hashed


@pytest.mark.parametrize("how", ["in place", "replaced"])
def test_an_altered_byte_is_named(tmp_path: Path, how: str) -> None:
    stage, manifest = finished(tmp_path)
    grow_old(stage)
    start(stage, manifest)
    part = stage.path / PART
    data, before = part.read_bytes(), part.stat()
    altered = data[:-1] + bytes([data[-1] ^ 1])
    if how == "in place":
        part.write_bytes(altered)
    else:
        (tmp_path / "other").write_bytes(altered)
        os.utime(tmp_path / "other", ns=(before.st_atime_ns, before.st_mtime_ns))
        (tmp_path / "other").replace(part)
    with pytest.raises(StoreError, match=rf"{PART} was altered"):
        start(stage, manifest)
    part.unlink()
    with pytest.raises(StoreError, match=rf"{PART} is missing"):
        start(stage, manifest)
    part.write_bytes(data)
    start(stage, manifest)


def test_verify_reads_what_the_notes_hold_for(tmp_path: Path) -> None:
    stage, manifest = finished(tmp_path)
    grow_old(stage)
    start(stage, manifest)
    part = stage.path / PART
    before = part.stat()
    data = part.read_bytes()
    part.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(part, ns=(before.st_atime_ns, before.st_mtime_ns))
    start(stage, manifest)  # what no start can notice
    with pytest.raises(StoreError, match=rf"{PART} was altered"):
        stage.verify(manifest)


@pytest.mark.parametrize("damage", ["middle", "end", "words", "gone"])
def test_notes_that_are_torn_are_not_trusted(tmp_path: Path, hashed: list[str], damage: str) -> None:
    stage, manifest = finished(tmp_path)
    grow_old(stage)
    start(stage, manifest)
    notes = stage.path / NOTES
    data = notes.read_bytes()
    match damage:
        case "middle":
            notes.write_bytes(data[:20] + b"0" + data[21:])
        case "end":
            notes.write_bytes(data[:-9])
        case "words":
            notes.write_bytes(b'{"file": 3}\n' + data)
        case _:
            notes.unlink()
    hashed.clear()
    start(stage, manifest)
    wanted = {part.file for part in manifest.parts}
    assert set(hashed) == ({manifest.parts[-1].file} if damage == "end" else wanted)
    hashed.clear()
    start(stage, manifest)
    assert hashed == []
