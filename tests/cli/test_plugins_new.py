"""``dasd plugins new`` and ``dasd plugins check`` through the real command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.command import dasd as here
from tests.plugin_factory import REGISTER, install

from dasd.cli.guard import run
from dasd.cli.plugins_check import CheckResult, show, suite_attributes
from dasd.plugins.components import Component, Owner
from dasd.testing import TeacherSuite


def dasd(*arguments: str, cwd: Path, site: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dasd", "plugins", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(site or ""), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


def test_new_writes_the_files_and_says_what_to_do_next(tmp_path: Path) -> None:
    done = here("plugins", "new", "my-lengths", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = done.stdout.splitlines()
    assert sorted(written) == sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert "dasd-my-lengths/src/dasd_my_lengths/__init__.py" in written
    assert "pip install -e dasd-my-lengths" in done.stderr and "--plugins my-lengths" in done.stderr


def test_new_never_overwrites(tmp_path: Path) -> None:
    target = tmp_path / "mine"
    target.mkdir()
    (target / "notes.txt").write_text("keep me")
    done = here("plugins", "new", "my-lengths", "--directory", "mine", cwd=tmp_path)
    assert done.returncode == 2 and "isn't empty" in done.stderr and "Traceback" not in done.stderr
    assert [path.name for path in target.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("My_Plugin", "wanted small letters, digits and single hyphens"),
        ("9lives", "beginning with a letter"),
        ("../escape", "wanted small letters"),
        ("class", "wanted small letters"),
        ("random", "is taken: selector 'random'"),
        ("echo", "is taken: echo is installed"),
    ],
)
def test_names_that_cant_be_used(
    tmp_path: Path, name: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["plugins", "new", name]) == 2
    said = capsys.readouterr()
    assert words in said.err and said.out == ""
    assert not list(tmp_path.iterdir())


GOOD = REGISTER + "registry.selector('last', lambda settings, seed: Last(), doc='The last candidate.')"
CLASS = (
    "import polars as pl\nclass Last:\n    needs_student = False\n    def rank(self, candidates, student):\n"
    "        return {}.cast(pl.Float64)\n"
)


def test_check_tells_what_passes_and_what_fails(tmp_path: Path) -> None:
    site = tmp_path / "site"
    install(site, "good", CLASS.format("candidates['student_tokens']") + GOOD)
    # Imports what counts as heavy for every command, by its name alone, and ranks by the place in the frame.
    (site / "jax.py").write_text("")
    bad = (
        "import jax\n"
        + CLASS.format("candidates.with_row_index()['index']")
        + GOOD.replace("'last'", "'bad'")
    )
    install(site, "bad", bad)

    good = dasd("check", "good", cwd=tmp_path, site=site)
    assert good.returncode == 0, good.stdout + good.stderr
    assert "selector 'last' (plugin dasd-good): 11 of 11 checks passed" in good.stdout

    found = dasd("check", "dasd-bad", "--json", cwd=tmp_path, site=site)
    assert found.returncode == 1
    result = json.loads(found.stdout)
    assert result["passed"] is False
    failed = {check["check"]: check["reason"] for check in result["checks"] if check["outcome"] == "failed"}
    assert "imports jax" in failed["test_registering_imports_nothing_heavy"]
    assert "have other ranks" in failed["test_a_rank_goes_with_its_candidate"]
    assert set(failed) == {
        "test_registering_imports_nothing_heavy",
        "test_a_rank_goes_with_its_candidate",
        "test_equal_candidates_have_equal_ranks",
    }


def test_one_cause_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    component = Component("teacher", "mine", print, Owner("mine", "dasd-mine", "1"), "", None)
    cause = "BackendError: no server answers"
    results = [CheckResult("teacher", "mine", f"test_{n}", "A check.", "failed", cause, 0.1) for n in "abc"]
    results.append(CheckResult("teacher", "mine", "test_d", "It is so.", "failed", "not so", 0.1))
    results.append(CheckResult("teacher", "mine", "test_e", "Fine.", "passed", "", 0.1))
    show([component], results)
    said = capsys.readouterr().out
    assert said.count(cause) == 1
    assert "failed, 3 checks of one cause: a, b, c" in said
    assert "failed: d\n  wanted: It is so.\n  got: not so" in said


def test_check_takes_attributes_of_the_suite(tmp_path: Path) -> None:
    done = dasd("check", "number", "-o", 'right=[["7", "7", ""]]', cwd=tmp_path)
    assert done.returncode == 1
    assert "5 of 7 checks passed" in done.stdout and "of one cause: wrong responses are wrong" in done.stdout
    assert "-o 'wrong=" in done.stdout, "it says how to give examples"


def test_attributes_that_may_be_set() -> None:
    names = suite_attributes(TeacherSuite)
    assert {"model", "questions", "logprob_tolerance", "repeatable", "scores", "streams"} <= set(names)
    assert not {"name", "role", "options", "_benches"} & set(names)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nonesuch",), "there is no plugin or component 'nonesuch'"),
        (
            ("random", "--role", "teacher"),
            "'random' brings selector random; wanted a component of role teacher",
        ),
        (("broken",), "a_module_that_is_not_there"),
        (("printing",), "exporter prints; wanted a component of role"),
        (("random", "-o", "draws"), "wanted KEY=VALUE"),
        (("divergence", "-o", "lenght_control=true"), "neither an option of selector 'divergence'"),
    ],
)
def test_check_used_wrongly(
    tmp_path: Path,
    arguments: tuple[str, ...],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    install(tmp_path, "broken", "import a_module_that_is_not_there")
    install(tmp_path, "printing", REGISTER + "registry.exporter('prints', print)")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "plugin_printing", raising=False)
    assert run(["plugins", "check", *arguments]) == 2
    said = capsys.readouterr()
    assert words in said.err and said.out == ""


def test_without_pytest_the_message_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom importlib import util\nplain = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'pytest' else plain(name, *rest)\n"
    )
    suites = subprocess.run(
        [sys.executable, "-c", code + "import dasd.testing"], capture_output=True, text=True, check=False
    )
    assert (
        "dasd.testing runs its checks with pytest, which is not installed: pip install pytest"
        in suites.stderr
    )
    command = code + "from dasd.cli.guard import run\nsys.exit(run(['plugins', 'check', 'random']))"
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "pip install pytest" in done.stderr
