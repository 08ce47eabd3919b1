"""What ``dasd plugins new`` writes: installable, clean for ruff and mypy, and passing its own tests untouched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tests.command import dasd
from tests.plugin_factory import installed

from dasd.cli.plugins_new import KINDS, write_plugin

ROLES = list(KINDS)


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plugin of every role, each in a directory of its role's name."""
    root = tmp_path_factory.mktemp("new")
    for role in ROLES:
        write_plugin(f"my-{role}", role, root / role)
    return root


@pytest.fixture(scope="module")
def site(plugins: Path) -> Path:
    """All of them installed, as wheels, in a directory of their own."""
    site = plugins / "site"
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--target", str(site)]
    done = run(*command, *(str(plugins / role) for role in ROLES))
    assert done.returncode == 0, done.stderr
    return site


@pytest.fixture(scope="module")
def outcomes(plugins: Path, site: Path) -> dict[str, list[dict[str, Any]]]:
    """Role -> what came of the plugin's own tests."""
    results, ini = plugins / "results.jsonl", plugins / "pytest.ini"
    ini.write_text("[pytest]\naddopts = --import-mode=importlib -p no:cacheprovider\n")
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(ini), "-p", "dasd.testing.results"]
    tests = [str(plugins / role / "tests") for role in ROLES]
    done = run(*command, "--results-file", str(results), *tests, site=site)
    found: dict[str, list[dict[str, Any]]] = {role: [] for role in ROLES}
    for record in map(json.loads, results.read_text().splitlines()):
        found[Path(record["file"]).parts[0]].append(record)
    assert done.returncode == 0, done.stdout[-4000:]
    return found


def run(*command: str, site: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """``site``: a directory with plugins, before whatever the path holds already (dasd may be there)."""
    environment = {**os.environ, **environment}
    if site is not None:
        environment["PYTHONPATH"] = os.pathsep.join(
            [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("role", ROLES)
def test_it_passes_its_own_tests(role: str, outcomes: dict[str, list[dict[str, Any]]]) -> None:
    assert {record["outcome"] for record in outcomes[role]} == {"passed"}
    checks = {record["check"] for record in outcomes[role]}
    assert "test_registering_imports_nothing_heavy" in checks, "the conformance suite was run"


@pytest.mark.parametrize("role", ROLES)
def test_it_says_what_it_is(role: str, plugins: Path) -> None:
    project = tomllib.loads((plugins / role / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["dasd.plugins"] == {f"my-{role}": f"dasd_my_{role}"}
    readme = (plugins / role / "README.md").read_text()
    assert f"my-{role}" in readme and "{" not in readme.replace('{"', "")
    # What any pip takes; `--group` came with 25.1.
    assert "pip install -e '.[dev]'" in readme and "--group" not in readme
    assert any(need.startswith("pytest") for need in project["project"]["optional-dependencies"]["dev"])


def test_they_load_as_installed_plugins(site: Path) -> None:
    done = run(sys.executable, "-m", "dasd", "plugins", "list", "--json", site=site)
    plugins = {plugin["name"]: plugin for plugin in json.loads(done.stdout)["plugins"]}
    for role in ROLES:
        assert plugins[f"my-{role}"]["loaded"], plugins[f"my-{role}"]["error"]
        (component,) = plugins[f"my-{role}"]["components"]
        assert (component["role"], component["name"]) == (role, f"my-{role}")


def test_they_are_clean_for_ruff(plugins: Path) -> None:
    for role in ROLES:
        done = run(sys.executable, "-m", "ruff", "check", "--no-cache", str(plugins / role))
        assert done.returncode == 0, done.stdout
        assert (
            run(
                sys.executable, "-m", "ruff", "format", "--check", "--no-cache", str(plugins / role)
            ).returncode
            == 0
        )


def test_they_are_clean_for_mypy(plugins: Path) -> None:
    # With dasd's own settings, which are strict too, and their cache: a cold one takes half a minute.
    assert (
        tomllib.loads((plugins / ROLES[0] / "pyproject.toml").read_text())["tool"]["mypy"]["strict"] is True
    )
    sources = [str(plugins / role / "src") for role in ROLES]
    config = str(Path(__file__).parents[2] / "pyproject.toml")
    done = run(sys.executable, "-m", "mypy", "--strict", "--config-file", config, *sources)
    assert done.returncode == 0, done.stdout


def test_it_works_in_a_real_run(plugins: Path, site: Path) -> None:
    recipe = {
        "name": "tiny",
        "teacher": {"model": "dasd:mini-teacher", "precision": "fp32", "device": "cpu"},
        "student": {"model": "dasd:mini-student", "precision": "fp32", "device": "cpu"},
        "questions": {"train": [{"source": "miniature", "count": 4}]},
        "sampling": {"candidates": 2, "max_tokens": 100},
        "stages": [{"name": "low", "temperature": 0.6}],
        "trainer": {"max_length": 256},
        "evaluation": {"heldout": 0},
    }
    (plugins / "tiny.json").write_text(json.dumps(recipe))  # JSON is YAML
    command = ["pipeline", plugins / "tiny.json", "--plugins", "my-selector,my-filter"]
    with installed(site):
        done = dasd(*command, "--run", plugins / "run", "--until", "select", "--quiet", HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    kept = (plugins / "run" / "recipe.yaml").read_text()
    assert "selector: my-selector" in kept and "- my-filter" in kept
