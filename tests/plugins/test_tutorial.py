"""docs/plugins.md: its tutorial works as it is written, and its reference leaves nothing out."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, get_origin

import pytest
from tests.command import dasd as run_here
from tests.plugin_factory import installed

import dasd.api
import dasd.api.training
import dasd.testing
from dasd.cli.plugins_check import suite_attributes
from dasd.plugins.registry import Registry

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/plugins.md").read_text()
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"`([\w./]+\.(?:toml|py|yaml))`(?!.*`[\w./]+\.(?:toml|py|yaml)`)", re.DOTALL)
PROTOCOLS = [
    value
    for name, value in vars(dasd.api).items()
    # These two are what a plugin is given, not what its factories return; Registry's methods stand with the hook.
    if name in dasd.api.__all__
    and getattr(value, "_is_protocol", False)
    and value not in (dasd.api.Registry, dasd.api.OpenedTeacher)
]


def section(heading: str) -> str:
    """The text from a heading of the second level to the next one."""
    return TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def run(command: list[str], cwd: Path, site: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PYTHONPATH": str(site), "PATH": path, "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_the_tutorial_works_as_it_is_written(tmp_path: Path) -> None:
    """Each file is written under the name last told before it; each command ends well."""
    site, place, done = tmp_path / "site", tmp_path / "shortest", []
    place.mkdir()
    tutorial = section("Tutorial")
    for block in BLOCK.finditer(tutorial):
        kind, content = block.groups()
        if kind != "console":
            target = place / NAMED.findall(tutorial[: block.start()])[-1]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content)
            continue
        for line in content.splitlines():
            command = shlex.split(line.removeprefix("$ "))
            if command[:2] == ["pip", "install"]:
                # Not into the environment of these tests.
                command = [
                    sys.executable,
                    "-m",
                    "uv",
                    "pip",
                    "install",
                    "--quiet",
                    "--no-deps",
                    "--target",
                    str(site),
                ]
                command += ["--reinstall", "."]
            elif command == ["pytest"]:
                command += ["-q", "-c", os.devnull, "--rootdir", "."]
            if command[0] == "dasd" and command[1] in {line.split()[2] for line, _ in done if "dasd" in line}:
                # In this process, where the same command has run in one of its own: each would import torch.
                with installed(site):
                    finished = run_here(*command[1:], cwd=place, PYTHONPATH=str(site), HF_HUB_OFFLINE="1")
            else:
                finished = run(command, place, site)
            assert finished.returncode == 0, f"{line}\n{finished.stdout[-2000:]}{finished.stderr[-2000:]}"
            done.append((line, finished.stdout))
    said = dict(done)
    assert "options.at_least" not in said["$ dasd plugins info shortest"], "the first version has no options"
    assert "11 of 11 checks passed" in said["$ dasd plugins check shortest -o at_least=20"]
    kept = (place / "runs/tiny/recipe.yaml").read_text()
    assert "selector: shortest" in kept and "at_least: 20" in kept
    assert (place / "dasd-my-oracle/src/dasd_my_oracle/__init__.py").is_file()
    assert len(done) == 10


def test_the_suites_of_the_reference_work_as_they_are_written(tmp_path: Path) -> None:
    examples = [content for kind, content in BLOCK.findall(section("Conformance suites")) if kind == "python"]
    for number, content in enumerate(examples):
        (tmp_path / f"test_example_{number}.py").write_text(content)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-c",
        os.devnull,
        "--rootdir",
        ".",
        "--import-mode=importlib",
    ]
    done = run([*command, "."], tmp_path, tmp_path)
    assert done.returncode == 0, done.stdout[-3000:]
    assert len(examples) == 2


# -- nothing is left out; the hooks are held by tests/unit/plugins/test_plugins_host.py ----------------------------


def members(protocol: type) -> list[str]:
    found = []
    for name, value in vars(protocol).items():
        if name.startswith("_") or not (inspect.isfunction(value) or isinstance(value, property)):
            continue
        if isinstance(value, property):
            found.append(f"`{protocol.__name__}.{name}`")
        else:
            arguments = ", ".join(list(inspect.signature(value).parameters)[1:])
            found.append(f"`{protocol.__name__}.{name}({arguments})`")
    return found


def test_there_is_a_protocol_for_every_role_and_for_hosts_of_a_training() -> None:
    assert {protocol.__name__.lower() for protocol in PROTOCOLS} == {
        "teacher", "trainer", "evaluator", "selector", "filter", "questions", "verifier", "executor",
        "exporter", "launchingexecutor", "hosts", "launched",
    }  # fmt: skip


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.__name__)
def test_every_member_of_a_protocol_is_documented(protocol: type) -> None:
    text = section("Protocols")
    assert f"### {protocol.__name__}\n" in text
    assert inspect.getdoc(protocol)
    assert members(protocol)
    for member in members(protocol):
        assert member in text
    for name, value in vars(protocol).items():
        if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
            assert inspect.getdoc(value), f"{protocol.__name__}.{name} has no docstring"


@pytest.mark.parametrize("module", [dasd.api, dasd.api.training], ids=lambda module: module.__name__)
def test_every_public_name_is_documented(module: Any) -> None:
    text = section("Names in dasd.api")
    missing = [name for name in module.__all__ if f"`{name}`" not in text]
    assert not missing, f"docs/plugins.md doesn't tell what these names of {module.__name__} are: {missing}"
    # The type of a function has no docstring of its own; the page tells of it.
    written = [name for name in module.__all__ if get_origin(getattr(module, name)) is None]
    bare = [name for name in written if not inspect.getdoc(getattr(module, name))]
    assert not bare, f"without a docstring: {bare}"
    told = {
        name
        for cell in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", cell)
    }
    gone = told - set(dasd.api.__all__) - set(dasd.api.training.__all__)
    assert not gone, f"docs/plugins.md tells of names that aren't there: {gone}"


def test_every_way_to_register_is_documented() -> None:
    roles = [
        name
        for name, value in vars(Registry).items()
        if inspect.isfunction(value) and "factory" in inspect.signature(value).parameters
    ]
    for role in roles:
        if not role.startswith("_"):
            assert f"`registry.{role}(name, factory)`" in TEXT
            for keyword in inspect.signature(getattr(Registry, role)).parameters.values():
                if keyword.kind is keyword.KEYWORD_ONLY:
                    assert re.search(rf"`{keyword.name}=", TEXT), f"registry.{role}: {keyword.name}"


@pytest.mark.parametrize("name", [name for name in dasd.testing.__all__ if name != "ComponentSuite"])
def test_every_suite_and_its_attributes_and_checks_are_documented(name: str) -> None:
    suite, text = getattr(dasd.testing, name), section("Conformance suites")
    assert f"`{name}`" in text
    for attribute in suite_attributes(suite):
        assert re.search(rf"^\|[^|]*`{attribute}`[^|]*\|[^|]*`{name}`", text, re.MULTILINE), attribute
    for check in dir(suite):
        if check.startswith("test_"):
            assert inspect.getdoc(getattr(suite, check)), f"{name}.{check} has no docstring"
