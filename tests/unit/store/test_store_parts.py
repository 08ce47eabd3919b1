"""Rows of a frame by slices: what a slice opens, and that it is what a scan gives."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from dasd.store.manifest import PartRecord
from dasd.store.parts import PartRows, scan

SIZES = (3, 1, 0, 4, 2)


def parts(directory: Path) -> list[PartRecord]:
    found, row = [], 0
    for number, rows in enumerate(SIZES):
        ids = [f"s{row + place}" for place in range(rows)]
        frame = pl.DataFrame(
            {"sample_id": ids, "stage": "s", "kept": True, "reason": "", "detail": "d"},
            schema_overrides={"sample_id": pl.String},
        )
        file = f"part-verdicts-{number:05d}.parquet"
        frame.write_parquet(directory / file)
        key = f"{'early' if number < 3 else 'late'}-{number}"
        found.append(PartRecord(file=file, frame="verdicts", key=key, rows=rows, bytes=0, checksum=""))
        row += rows
    return found


@pytest.mark.parametrize(("start", "stop"), [(0, 3), (2, 5), (3, 4), (0, 10), (8, 99), (10, 12), (4, 4)])
def test_slices_are_those_of_a_scan(tmp_path: Path, start: int, stop: int) -> None:
    made = parts(tmp_path)
    rows = PartRows(tmp_path, made, "verdicts")
    whole = scan(tmp_path, made, "verdicts").collect()
    assert rows.height == sum(SIZES) == whole.height
    assert rows.slice(start, stop).equals(whole.slice(start, stop - start))
    few = rows.select(["kept", "sample_id"])
    assert few.slice(start, stop).equals(whole.select("kept", "sample_id").slice(start, stop - start))


def test_a_slice_opens_only_the_parts_that_it_overlaps(tmp_path: Path) -> None:
    made = parts(tmp_path)
    for part in (made[0], made[4]):
        (tmp_path / part.file).unlink()
    rows = PartRows(tmp_path, made, "verdicts")
    assert rows.slice(3, 8)["sample_id"].to_list() == ["s3", "s4", "s5", "s6", "s7"]
    with pytest.raises(FileNotFoundError):
        rows.slice(2, 4)


def test_a_frame_without_parts_is_empty(tmp_path: Path) -> None:
    rows = PartRows(tmp_path, parts(tmp_path), "losses")
    assert (rows.height, rows.slice(0, 5).height) == (0, 0)
    assert "loss" in rows.slice(0, 5).columns
