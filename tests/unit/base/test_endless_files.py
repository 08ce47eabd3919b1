"""Files that never end or blow up when they are read: pipes, devices, YAML aliases, huge ones; closed streams."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dasd.base.checksums import file_checksum
from dasd.base.files import read_lines
from dasd.base.small_files import SMALL
from dasd.errors import DasdError, InputError
from dasd.models.files import check_model, declared_context
from dasd.models.miniature import model_path
from dasd.recipe.model_settings import ModelSettings
from dasd.results.cards.licences import front_matter
from dasd.store import Run, RunDirectory
from dasd.store.manifest import RunRecord, read_record


def _laugh(last: str) -> str:
    """YAML of 12 lines that is 9^11 values."""
    lines = ["q0: &q0 [1, 1]"]
    lines += [f"q{level}: &q{level} [{', '.join([f'*q{level - 1}'] * 9)}]" for level in range(1, 11)]
    return "\n".join([*lines, f"{last}: *q10\n"])


def _run(path: Path) -> Run:
    store = RunDirectory(path / "run")
    with store.writing("endless", 3, "seed: 0\n"):
        pass
    return Run.open(store.path)


def test_aliases_in_the_recipe_of_a_run_and_in_a_card_are_refused(tmp_path: Path) -> None:
    run = _run(tmp_path)
    (run.directory / "recipe.yaml").write_text(_laugh("teacher"))
    with pytest.raises(DasdError, match="no aliases"):
        _ = run.settings
    assert front_matter(f"---\n{_laugh('license')}---\n") == {}


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_pipes_and_devices_are_not_read(tmp_path: Path, kind: str) -> None:
    run = _run(tmp_path)
    for name in ("recipe.yaml", "report.json", "run.json"):
        (run.directory / name).unlink(missing_ok=True)
        if kind == "pipe":
            os.mkfifo(run.directory / name)
        else:
            (run.directory / name).symlink_to("/dev/full")
    with pytest.raises(OSError, match="a pipe, a socket or a device"):
        file_checksum(run.directory / "recipe.yaml")
    with pytest.raises(DasdError, match="a pipe, a socket or a device"):
        _ = run.settings
    with pytest.raises(DasdError, match="a pipe, a socket or a device"):
        run.report()
    with pytest.raises(DasdError, match="a pipe, a socket or a device"):
        read_record(run.directory / "run.json", RunRecord)


def _huge(file: Path, size: int = SMALL + 1) -> Path:
    """A file without content of that size; it takes no room on the disk."""
    file.unlink(missing_ok=True)
    with file.open("wb") as made:
        made.truncate(size)
    return file


def test_huge_files_of_a_run_are_refused_with_size_and_limit(tmp_path: Path) -> None:
    run = _run(tmp_path)
    told = f"it has {SMALL + 1} bytes, and such a file at most "
    for name in ("recipe.yaml", "report.json", "run.json"):
        _huge(run.directory / name)
    for read in (
        lambda: run.settings,
        run.report,
        lambda: read_record(run.directory / "run.json", RunRecord),
    ):
        with pytest.raises(DasdError, match=told):
            read()
    with pytest.raises(DasdError, match="at most 1073741824"):
        read_lines(_huge(tmp_path / "events.jsonl", (1 << 30) + 1))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json", "tokenizer_config.json"])
def test_huge_files_of_a_model_are_refused_with_size_and_limit(name: str, tmp_path: Path) -> None:
    model = shutil.copytree(model_path("student"), tmp_path / "model")
    _huge(model / name)
    settings = ModelSettings(model=str(model))
    with pytest.raises(
        InputError, match=rf"{name} .*it has {SMALL + 1} bytes, and such a file at most {SMALL}"
    ):
        check_model(settings)
    if name == "config.json":
        with pytest.raises(InputError, match=name):
            declared_context(settings)


def test_no_reader_of_json_goes_around_the_bound() -> None:
    root = Path(__file__).parents[3]
    sources = [*root.glob("python/dasd/**/*.py"), *root.glob("plugins/*/src/**/*.py")]
    around = re.compile(r"json\.load\(|(json\.loads|validate_json)\((\([^)]*\)|[^()])*\.read_(text|bytes)\(")
    assert len(sources) > 300
    assert [file.name for file in sources if around.search(file.read_text())] == []


_WRONG = """
import os, sys
from pathlib import Path
from dasd.cli.guard import main
sys.argv = ["dasd", "runs", "show", "no-such-run"]
try:
    main()
finally:
    Path(sys.orig_argv[-1]).write_text(os.readlink("/proc/self/fd/" + sys.orig_argv[-2]))
"""


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_closed_standard_stream_stays_one_and_changes_no_exit_code(number: int, tmp_path: Path) -> None:
    found = tmp_path / "found"
    done = subprocess.run(
        [
            "/bin/sh",
            "-c",
            f'exec "$@" {number}>&-',
            "sh",
            sys.executable,
            "-c",
            _WRONG,
            str(number),
            str(found),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2, done.stderr
    assert found.read_text() == os.devnull  # else the first file that is opened has this number
    assert ("no-such-run" in done.stderr) == (number != 2)


@pytest.mark.parametrize("kind", ["gone", "full"])
def test_an_error_that_nobody_reads_keeps_its_exit_code(kind: str, tmp_path: Path) -> None:
    if kind == "gone":
        reader, stderr = os.pipe()
        os.close(reader)
    else:
        stderr = os.open("/dev/full", os.O_WRONLY)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "dasd", "runs", "show", str(tmp_path / "none")], stderr=stderr, timeout=60
        )
    finally:
        os.close(stderr)
    assert done.returncode == 2
