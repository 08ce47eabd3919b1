from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.small_disk import small_disk

from dasd.base.checksums import checksum, feed_file, file_checksum, hasher
from dasd.base.files import (
    append_line,
    canonical_json,
    check_free,
    free_bytes,
    human_bytes,
    line_of,
    means_full,
    mend_lines,
    plain_json,
    read_lines,
    write_whole,
)
from dasd.errors import ComponentError, DasdError, DiskFullError, StoreError


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    with small_disk(tmp_path / "disk", 1) as place:
        yield place


needs_dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


def test_write_whole_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert [item.name for item in tmp_path.iterdir()] == ["a.json"]


@needs_dev_full
def test_full_disk_keeps_the_old_file_and_removes_the_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_whole(path, b"old")
    (tmp_path / ".a.json.tmp").symlink_to("/dev/full")  # the write itself meets a real ENOSPC
    with pytest.raises(DiskFullError) as caught:
        write_whole(path, b"new" * 1000)
    text = str(caught.value)
    assert str(tmp_path) in text and "2.9 KiB needed" in text and "free" in text and "same command" in text
    assert caught.value.errno == errno.ENOSPC and caught.value.exit_code == 1
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.json"]


@needs_dev_full
def test_full_disk_while_appending(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to("/dev/full")
    with pytest.raises(DiskFullError):
        append_line(tmp_path / "log", b"{}", durable=True)


def test_a_line_that_does_not_fit_is_cut_off_again(disk: Path) -> None:
    path = disk / "log"
    line = json.dumps({"x": "y" * 3000}).encode()
    with pytest.raises(DiskFullError):
        for _ in range(10_000):
            append_line(path, line, durable=True)
    assert len(read_lines(path)) > 100
    assert path.stat().st_size == len(read_lines(path)) * len(line_of(line))


def test_a_file_that_does_not_fit(disk: Path) -> None:
    with pytest.raises(DiskFullError, match=r"2\.0 MiB needed"):
        write_whole(disk / "a", bytes(2 * 2**20))
    assert [item.name for item in disk.iterdir()] == []


def test_check_free_before_anything_is_written(tmp_path: Path) -> None:
    check_free(tmp_path / "not" / "there" / "yet", 1)
    with pytest.raises(DiskFullError, match="needed"):
        check_free(tmp_path / "not" / "there", free_bytes(tmp_path) * 2)
    assert [item.name for item in tmp_path.iterdir()] == []


def test_full_disk_is_recognised_in_what_libraries_make_of_it(tmp_path: Path) -> None:
    def raised(inner: Exception) -> Exception:
        try:
            raise RuntimeError("writer failed") from inner
        except RuntimeError as error:
            return error

    assert means_full(raised(OSError(errno.ENOSPC, "x")), tmp_path)
    assert means_full(raised(ValueError("I/O error: No space left on device (os error 28)")), tmp_path)
    assert not means_full(raised(OSError(errno.EACCES, "x")), tmp_path)
    assert not means_full(DasdError("No space left on device"), tmp_path)
    assert means_full(ComponentError("a plugin failed: No space left on device"), tmp_path)


RECORDS = st.lists(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5)), max_size=6)


@given(RECORDS, st.data())
def test_any_cut_of_an_append_only_file_is_a_prefix_of_its_records(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, int | str]], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("lines") / "log"
    for record in records:
        append_line(path, canonical_json(record), durable=False)
    if path.exists():
        cut = data.draw(st.integers(0, path.stat().st_size))
        os.truncate(path, cut)
    left = read_lines(path)
    assert left == records[: len(left)]
    assert mend_lines(path) == left
    append_line(path, b'{"after": 1}', durable=False)
    assert read_lines(path) == [*left, {"after": 1}]


def test_a_last_line_of_zeros_is_torn_and_a_middle_one_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b'{"a": 1}\n\0\0\0\0\n')
    assert mend_lines(path) == [{"a": 1}]
    assert path.read_bytes() == b'{"a": 1}\n'
    path.write_bytes(b'{"a": 1}\n{"b": \n{"c": 3}\n')
    with pytest.raises(StoreError, match="line 2") as caught:
        read_lines(path)
    assert caught.value.path == path


def test_checksums_and_canonical_json(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 3_000_000)
    assert file_checksum(path) == checksum(path.read_bytes()) != checksum(b"")
    assert len(checksum(b"")) == 32
    parts = hasher()
    parts.update(b"name")
    feed_file(parts, path)
    assert parts.hexdigest() == checksum(b"name" + path.read_bytes())
    # Ids and fingerprints of runs that exist are made of this: it never changes.
    assert checksum(b"abc") == "cf4ab791c62b8d2b2109c90275287816"
    assert checksum(b"abc", 8) == "d8bb14d833d59559"
    assert canonical_json({"b": [1.0, None], "a": "é"}) == '{"a":"é","b":[1.0,null]}'.encode()


def test_plain_json() -> None:
    assert plain_json({"a": (1, float("nan"), float("inf"), True), 2: None}, "x") == {
        "a": [1, None, None, True],
        "2": None,
    }
    with pytest.raises(StoreError, match=r"summary\.a\[0\]: wanted a JSON value, got set"):
        plain_json({"a": [set()]}, "summary")


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (5 * 2**40, "5.0 TiB")]
)
def test_human_bytes(count: int, text: str) -> None:
    assert human_bytes(count) == text
