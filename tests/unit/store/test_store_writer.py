from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl
import pytest
from pydantic import JsonValue
from tests.small_disk import small_disk

from dasd.base.files import append_line
from dasd.errors import DiskFullError, SchemaError, StoreError
from dasd.store import DirectoryWriter, StageDirectory
from dasd.store.manifest import StageHeader
from dasd.store.verified import NOTES

HEADER = StageHeader(name="judge", kind="filter", fingerprint="f" * 32, needs={}, inputs={}, started="now")


def verdicts(*ids: str) -> pl.DataFrame:
    return pl.DataFrame(
        {"sample_id": ids, "stage": "s", "kept": True, "reason": "", "detail": "d"},
    )


class Place:
    """A stage of its own in a run directory, and what it asked for."""

    def __init__(self, root: Path) -> None:
        self.stage = StageDirectory(root, root / "stages" / "01-judge")
        self.claimed: list[str] = []
        self.events: list[tuple[str, Mapping[str, JsonValue]]] = []
        self.stage.begin(HEADER)

    def writer(self) -> DirectoryWriter:
        return DirectoryWriter(
            self.stage, HEADER, self.claimed.append, lambda kind, fields: self.events.append((kind, fields))
        )

    def names(self) -> list[str]:
        """All files but the notes, which are there once a file is two seconds old."""
        return sorted(item.name for item in self.stage.path.iterdir() if item.name != NOTES)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_parts_units_and_manifest(place: Place) -> None:
    writer = place.writer()
    assert writer.read("verdicts").collect().equals(verdicts().clear())
    writer.append("verdicts", verdicts("a", "b"), key="u1")
    writer.finish_unit("u1")
    writer.finish_unit("u1")
    writer.append("verdicts", verdicts("c"))
    writer.summarise({"kept": 3, "share": float("nan")})
    writer.summarise({"share": 0.5})
    writer.event("note", size=3)
    assert writer.read("verdicts").collect()["sample_id"].to_list() == ["a", "b", "c"]
    manifest = writer.close({"x": 1})
    assert place.names() == [
        "manifest.json",
        "part-verdicts-00000.parquet",
        "part-verdicts-00001.parquet",
        "progress.jsonl",
        "stage.json",
    ]
    assert place.stage.manifest() == manifest
    assert manifest.rows == {"verdicts": 3}
    assert manifest.summary == {"kept": 3, "share": 0.5}
    assert manifest.settings == {"x": 1}
    assert [(part.key, part.rows) for part in manifest.parts] == [("u1", 2), ("", 1)]
    assert manifest.versions["polars"] == pl.__version__
    assert place.events == [("note", {"size": 3})]
    place.stage.verify(manifest)


def test_an_interrupted_stage_comes_back_to_its_finished_units(place: Place) -> None:
    first = place.writer()
    first.append("verdicts", verdicts("a"), key="u1")
    first.append("losses", _losses(1), key="u1")
    first.finish_unit("u1")
    first.append("verdicts", verdicts("b"), key="u2")  # u2 never finishes
    first.append("verdicts", verdicts("c"))  # nor does the stage
    (place.stage.path / ".part-verdicts-00003.parquet.tmp").write_bytes(b"half")
    (place.stage.path / "part-verdicts-00003.parquet").write_bytes(b"renamed, never recorded")
    with (place.stage.path / "progress.jsonl").open("ab") as file:
        file.write(b'{"record": "unit", "key": "u2')  # torn by the kill
    (first.scratch() / "state.pt").write_bytes(b"state")

    second = place.writer()
    assert second.done() == {"u1"}
    assert place.names() == [
        "part-losses-00000.parquet",
        "part-verdicts-00000.parquet",
        "progress.jsonl",
        "scratch",
        "stage.json",
    ]
    assert (second.scratch() / "state.pt").read_bytes() == b"state"
    assert second.read("verdicts").collect()["sample_id"].to_list() == ["a"]
    second.append("verdicts", verdicts("b"), key="u2")
    second.finish_unit("u2")
    manifest = second.close({})
    assert [part.file for part in manifest.parts if part.frame == "verdicts"] == [
        "part-verdicts-00000.parquet",
        "part-verdicts-00001.parquet",
    ]
    assert "scratch" not in place.names()


def _losses(step: int) -> pl.DataFrame:
    from dasd.base.schemas import LOSSES

    row = ["s", step, 0.5, 1.0, 1e-3, 0.1, 10, 0.2]
    return pl.DataFrame([row], schema=dict(LOSSES.columns), orient="row")


def test_working_time_adds_up_over_starts(place: Place) -> None:
    place.writer().finish_unit("a")
    for line in (
        {"record": "unit", "key": "b", "seconds": 5.0},
        {"record": "start", "time": "t"},
        {"record": "unit", "key": "c", "seconds": 2.0},
    ):
        append_line(place.stage.path / "progress.jsonl", json.dumps(line).encode(), durable=False)
    writer = place.writer()
    assert 7.0 <= writer.seconds < 60
    assert 7.0 <= writer.close({}).seconds < 60


def test_wrong_rows_are_refused_and_leave_nothing(place: Place) -> None:
    writer = place.writer()
    before = place.names()
    with pytest.raises(
        SchemaError, match=r"stage judge returned verdicts rows with missing columns \['kept'\]"
    ):
        writer.append("verdicts", verdicts("a").drop("kept"))
    with pytest.raises(StoreError, match="no frame is named 'verdict'; known: questions"):
        writer.append("verdict", verdicts("a"))
    writer.finish_unit("u")
    with pytest.raises(StoreError, match="unit 'u' is done"):
        writer.append("verdicts", verdicts("a"), key="u")
    assert place.names() == before


def test_a_unit_that_never_ends_is_an_error(place: Place) -> None:
    writer = place.writer()
    writer.append("verdicts", verdicts("a"), key="u9")
    with pytest.raises(StoreError, match=r"never finished: \['u9'\]"):
        writer.close({})
    assert place.stage.manifest() is None


def test_summaries_are_json(place: Place) -> None:
    with pytest.raises(StoreError, match="summary of stage judge: x: wanted a JSON value, got object"):
        place.writer().summarise({"x": object()})  # type: ignore[dict-item]


@pytest.mark.parametrize("change", ["remove", "cut", "flip"])
@pytest.mark.parametrize("finished", [False, True])
def test_a_damaged_part_is_named(place: Place, change: str, finished: bool) -> None:
    writer = place.writer()
    writer.append("verdicts", verdicts("a", "b"), key="u1")
    writer.finish_unit("u1")
    manifest = writer.close({}) if finished else None
    part = place.stage.path / "part-verdicts-00000.parquet"
    data = part.read_bytes()
    if change == "remove":
        part.unlink()
    elif change == "cut":
        part.write_bytes(data[:-10])
    else:
        part.write_bytes(data[:50] + bytes([data[50] ^ 1]) + data[51:])
    words = {"remove": "is missing", "cut": "torn or was altered", "flip": "was altered"}[change]
    with pytest.raises(StoreError, match=words) as caught:
        if manifest is not None:
            place.stage.verify(manifest)
        else:
            place.writer()
    assert caught.value.path == part
    assert str(part) in str(caught.value) and "Restore it" in str(caught.value)


def test_artifacts(place: Place) -> None:
    writer = place.writer()
    path = writer.artifact("checkpoints/stage1")
    assert path == place.stage.root / "checkpoints" / "stage1"
    assert path.parent.is_dir() and not path.exists()
    (path / "deep").mkdir(parents=True)
    (path / "config.json").write_text("{}")
    (path / "deep" / "weights").write_bytes(b"w" * 100)
    assert writer.artifact("checkpoints/stage1") == path
    again = place.writer()  # after a kill
    assert again.artifact("checkpoints/stage1") == path
    assert (path / "config.json").exists()
    assert place.claimed == ["checkpoints/stage1"]
    manifest = again.close({})
    assert [(file.path, file.bytes) for file in manifest.artifacts[0].files] == [
        ("checkpoints/stage1/config.json", 2),
        ("checkpoints/stage1/deep/weights", 100),
    ]
    place.stage.verify(manifest)
    (path / "deep" / "weights").write_bytes(b"v" * 100)
    with pytest.raises(StoreError, match="deep/weights was altered"):
        place.stage.verify(manifest)


@pytest.mark.parametrize(
    "relative", ["", "/abs", "../up", "a/../../b", "stages/x", "run.json", "superseded/x"]
)
def test_artifacts_stay_in_the_run_and_out_of_its_own_files(place: Place, relative: str) -> None:
    with pytest.raises(StoreError, match="an artifact can't be"):
        place.writer().artifact(relative)


def test_an_artifact_that_was_claimed_must_be_there(place: Place) -> None:
    writer = place.writer()
    writer.artifact("report.html")
    with pytest.raises(StoreError, match=r"report\.html as an artifact but left nothing"):
        writer.close({})


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    with small_disk(tmp_path / "disk", 1) as place:
        yield place


def test_a_full_disk_loses_nothing_that_was_finished(disk: Path) -> None:
    place = Place(disk)
    writer = place.writer()
    text = "".join(chr(33 + (i * i * 7919 + i) % 90) for i in range(40_000))
    units = 0
    with pytest.raises(DiskFullError, match="needed"):
        for units in range(1000):
            start = (units * 131) % 10_000
            writer.append(
                "verdicts", verdicts(f"id{units}").with_columns(detail=pl.lit(text[start:])), str(units)
            )
            writer.finish_unit(str(units))
    assert units > 3
    assert not [name for name in place.names() if name.endswith(".tmp")]
    subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
    again = place.writer()
    assert again.done() == {str(unit) for unit in range(units)}
    assert again.read("verdicts").collect()["sample_id"].to_list() == [f"id{unit}" for unit in range(units)]
