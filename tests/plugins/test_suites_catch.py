"""Each check of the suites fails where it should: real plugins, each broken in one way, and who notices."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from tests.plugins.broken import Broken

ROOT = Path(__file__).parents[2]
MODULES = (
    "broken_teachers",
    "broken_feeding",
    "broken_continuing",
    "broken_trainers",
    "broken_others",
    "broken_judges",
    "broken_executors",
)


def broken() -> dict[str, tuple[str, type[Broken]]]:
    """Name of each broken plugin's suite -> its module and the suite."""
    found: dict[str, tuple[str, type[Broken]]] = {}
    for module in MODULES:
        for name, suite in vars(import_module(f"tests.plugins.{module}")).items():
            if name.startswith("Test") and issubclass(suite, Broken):
                assert name not in found, f"two broken plugins are called {name}"
                found[name] = (module, suite)
    return found


BROKEN = broken()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What came of the one check that is to catch each: all in one other process."""
    file = tmp_path_factory.mktemp("results") / "results.jsonl"
    nodes = [
        f"tests/plugins/{module}.py::{name}::{suite.caught[0]}" for name, (module, suite) in BROKEN.items()
    ]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--tb=no",
        "-p",
        "dasd.testing.results",
        "--results-file",
        str(file),
    ]
    done = subprocess.run([*command, *nodes], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout[-3000:] + done.stderr[-3000:]
    return {record["suite"]: record for record in map(json.loads, file.read_text().splitlines())}


@pytest.mark.parametrize("name", BROKEN)
def test_it_is_caught(name: str, results: dict[str, dict[str, Any]]) -> None:
    check, words = BROKEN[name][1].caught
    result = results[name]
    assert (result["check"], result["outcome"]) == (check, "failed")
    assert words in result["reason"], result["reason"]
