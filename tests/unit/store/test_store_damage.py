"""Run directories that were damaged: mended, done again, or an error that names the file; never other rows."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzzing import fuzz
from tests.small_disk import small_disk
from tests.unit.store.test_store_directory import Runner, graph
from tests.unprivileged import open_to_all, unprivileged

from dasd.base.files import append_line, read_lines
from dasd.cli.guard import run as command
from dasd.errors import DasdError, InputError, StoreError
from dasd.store import Run, RunDirectory
from dasd.store.manifest import RunRecord, read_record

NODES = graph(1, 2, 3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three stages."""
    path = tmp_path_factory.mktemp("whole") / "run"
    Runner(path).run(NODES)
    return path


@pytest.fixture
def runner(whole: Path, tmp_path: Path) -> Runner:
    shutil.copytree(whole, tmp_path / "run")
    return Runner(tmp_path / "run")


def rows(path: Path) -> list[str]:
    return Run.open(path).frame("verdicts").collect()["sample_id"].to_list()


@pytest.mark.parametrize(
    "content", [None, b"", b'{"format": 1, "na', b"[]", b"[" * 100_000, b"\0" * 99, b"\xff"]
)
def test_run_json_is_rebuilt_and_every_stage_kept(runner: Runner, whole: Path, content: bytes | None) -> None:
    path = runner.path / "run.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StoreError, match=r"run\.json is damaged: .*every stage is kept"):
        Run.open(runner.path)
    with runner.store.writing("test", 1, "name: test\n") as mended:
        assert mended is not None and str(path) in mended
    runner.run(NODES)
    assert runner.ran == []
    first = runner.store.stages()["a"].header()
    assert first is not None and Run.open(runner.path).record.created == first.started


@pytest.mark.parametrize("file", ["run.json", "recipe.yaml", "events.jsonl", ".lock", "stages"])
@pytest.mark.parametrize("how", ["directory", "link"])
def test_something_else_in_a_files_place_is_named(runner: Runner, file: str, how: str) -> None:
    path = runner.path / file
    kept = runner.path / "stages-kept"
    if file == "stages":
        path.rename(kept)
    else:
        path.unlink(missing_ok=True)
    if how == "link" or file == "stages":
        path.symlink_to(runner.path / "nowhere" / "at-all")
    else:
        path.mkdir()
        (path / "mine").write_text("x")
    try:
        runner.run(NODES)
    except DasdError as error:
        assert str(path) in str(error)
    else:
        assert runner.ran == [] and rows(runner.path) == ["a1", "b2", "c3"]
    assert how == "link" or file == "stages" or (path / "mine").read_text() == "x"


@pytest.mark.parametrize("file", ["events.jsonl", "report.json", "recipe.yaml"])
def test_what_is_read_names_the_file(runner: Runner, file: str) -> None:
    path = runner.path / file
    read = {"events.jsonl": "events", "report.json": "report"}.get(file)

    def look() -> object:
        opened = Run.open(runner.path)
        return getattr(opened, read)() if read else opened.settings

    path.unlink(missing_ok=True)
    path.mkdir()
    with pytest.raises(StoreError, match=str(path)):
        look()
    path.rmdir()
    path.write_bytes(b"[" * 100_000 + b"\n{}\n")
    with pytest.raises(StoreError, match=str(path)):
        look()


@pytest.mark.parametrize(
    "file", ["run.json", "stage.json", "manifest.json", "progress.jsonl", "part-verdicts-00000.parquet"]
)
def test_every_byte_counts(runner: Runner, file: str) -> None:
    """Each byte altered alone: what is read is what was written, or an error names the file."""
    stage = runner.store.stages()["b"]
    path = (runner.path if file == "run.json" else stage.path) / file
    manifest = stage.manifest()
    assert manifest is not None
    readers: dict[str, Callable[[], object]] = {
        "run.json": lambda: read_record(path, RunRecord),
        "stage.json": stage.header,
        "manifest.json": stage.manifest,
        "progress.jsonl": stage.progress,
    }
    read = readers.get(file, lambda: stage.verify_parts(manifest.parts))
    whole, wanted = path.read_bytes(), read()
    last = whole[:-1].rindex(b"\n") if file == "progress.jsonl" else len(whole)
    chance, told = random.Random(file), 0
    with path.open("r+b", buffering=0) as damaged_file:
        for place, byte in enumerate(whole):
            os.pwrite(damaged_file.fileno(), bytes([byte ^ chance.randrange(1, 256)]), place)
            try:
                found = read()
            except StoreError as error:
                told += 1
                assert str(path) in str(error)
            else:  # white space; or a last line of progress, which is torn then: what it tells is done again
                assert found == wanted or (
                    place >= last and isinstance(wanted, list) and found in (wanted[:-1], wanted[:-2])
                ), place
            os.pwrite(damaged_file.fileno(), bytes([byte]), place)
    assert told > len(whole) // 2 and read() == wanted


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [("stage.json", '"kind": "', '"kind": "x'), ("progress.jsonl", '"rows":1', '"rows":7')],
)
def test_an_altered_record_of_a_stage_is_noticed(runner: Runner, file: str, old: str, new: str) -> None:
    path = runner.path / "stages" / "01-a" / file
    (runner.path / "stages" / "01-a" / "manifest.json").unlink()  # as if it had been interrupted
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(StoreError, match=f"{path}.*altered"):
        runner.run(NODES)


def test_lines_of_an_older_dasd_have_no_checksum(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"a":1}\n')
    append_line(path, b'{"a":2}', durable=False)
    assert read_lines(path) == [{"a": 1}, {"a": 2}]


@pytest.fixture
def locked(whole: Path, tmp_path: Path) -> Iterator[Path]:
    """The run on a file system that is mounted read-only."""
    with small_disk(tmp_path / "disk", 80) as disk:
        shutil.copytree(whole, disk / "run")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        yield disk / "run"


def test_a_read_only_run_is_read_and_writing_is_refused_in_words(
    locked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rows(locked) == ["a1", "b2", "c3"]
    assert command(["runs", "list", str(locked.parent)]) == 0
    assert command(["inspect", str(locked)]) == 0
    for path in (locked, locked.parent / "new"):
        with (
            pytest.raises(InputError, match="can't be written: .*Read-only file system"),
            ExitStack() as stack,
        ):
            stack.enter_context(RunDirectory(path).writing("x", 0, ""))
    capsys.readouterr()


@pytest.mark.parametrize("part", ["", "stages", "run.json", "recipe.yaml"])
def test_a_run_that_may_not_be_read_is_listed_as_such(
    whole: Path, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_to_all() as place:
        shutil.copytree(whole, place / "run")
        (place / "no-run").mkdir()
        (place / "run" / part).chmod(0)
        try:
            capsys.readouterr()
            with unprivileged():
                assert command(["runs", "list", str(place)]) == 0
                text = capsys.readouterr().out
                assert command(["runs", "list", "--json", str(place)]) == 0
        finally:
            (place / "run" / part).chmod(0o755)
        assert "Permission denied" in " ".join(text.split())
        (row,) = json.loads(capsys.readouterr().out)
    assert row["run"] == str(place / "run") and "Permission denied" in row["error"]


def test_a_place_that_may_not_be_written_is_wrong_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["recipes", "init", str(tmp_path / "recipe.yaml")]) == 0
    with open_to_all() as place:
        place.chmod(0o555)
        with unprivileged():
            assert command(["recipes", "init", str(place / "recipe.yaml")]) == 2
            told = capsys.readouterr().err
    assert f"{place}/" in told and "may not be read or written: Permission denied" in told


def test_a_run_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't be written: .*Not a directory"), ExitStack() as stack:
        stack.enter_context(RunDirectory(tmp_path / "file" / "run").writing("x", 0, ""))


def damaged(data: bytes, how: str, place: float, mask: int) -> bytes:
    at = int(place * len(data))
    block = data[at : at + 64]
    return {
        "flip": data[:at] + bytes(byte ^ mask for byte in data[at : at + 1]) + data[at + 1 :],
        "cut": data[:at],
        "zeros": data[:at] + bytes(len(block)) + data[at + 64 :],
        "twice": data[:at] + block + data[at:],
    }[how]


CHANGES = st.tuples(
    st.integers(0, 10**6),
    st.sampled_from(["flip", "cut", "zeros", "twice", "remove", "swap"]),
    st.floats(0, 1, exclude_max=True),
    st.integers(1, 255),
)


@fuzz(examples=20)
@given(changes=st.lists(CHANGES, min_size=1, max_size=2))
def test_any_damage_is_mended_or_told(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, str, float, int]]
) -> None:
    """Any byte of any file, files lost or swapped between stages: the same rows, or an error."""
    runner = Runner(tmp_path_factory.mktemp("damaged") / "run")
    shutil.copytree(whole, runner.path)
    try:
        for number, how, place, mask in changes:
            files = sorted(path for path in runner.path.rglob("*") if path.is_file() and path.name != ".lock")
            file = files[number % len(files)]
            if how == "remove":
                file.unlink()
            elif how == "swap":
                other = files[mask % len(files)]
                ours, theirs = file.read_bytes(), other.read_bytes()
                file.write_bytes(theirs)
                other.write_bytes(ours)
            else:
                file.write_bytes(damaged(file.read_bytes(), how, place, mask))
        try:
            found = rows(runner.path)
        except DasdError as error:
            assert str(runner.path) in str(error)
        else:  # a stage whose manifest is gone isn't seen
            assert [row for row in ("a1", "b2", "c3") if row in found] == found
        try:
            runner.run(NODES)
        except DasdError as error:
            assert str(runner.path) in str(error)
            return
        assert rows(runner.path) == ["a1", "b2", "c3"]
        assert [runner.text(name) for name in "abc"] == ["a1", "b2", "c3"]
    finally:
        shutil.rmtree(runner.path)
