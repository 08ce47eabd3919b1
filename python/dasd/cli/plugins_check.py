"""``dasd plugins check``: the conformance suites of ``dasd.testing`` on an installed plugin."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dasd.base.printable import echo
from dasd.cli.options import json_option, print_json, print_table

if TYPE_CHECKING:
    from dasd.plugins.components import Component

__all__ = ["check"]

SUITES = {
    "teacher": "TeacherSuite",
    "trainer": "TrainerSuite",
    "evaluator": "EvaluatorSuite",
    "selector": "SelectorSuite",
    "filter": "FilterSuite",
    "questions": "QuestionsSuite",
    "verifier": "VerifierSuite",
    "executor": "ExecutorSuite",
}
"""Role -> its suite in ``dasd.testing``."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What came of one check."""

    role: str
    name: str
    check: str
    doc: str
    outcome: str
    """``passed``, ``failed`` or ``skipped``."""
    reason: str
    seconds: float


@click.command()
@click.argument("name")
@click.option("--role", type=click.Choice(list(SUITES)), help="Check its components of this role alone.")
@click.option(
    "-o",
    "--option",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    help="An option of the component, or an attribute of its suite, e.g. -o path=answers.jsonl -o "
    "logprob_tolerance=0.02. May be repeated.",
)
@json_option
def check(name: str, role: str | None, options: tuple[str, ...], as_json: bool) -> None:
    """Hold an installed plugin's components against what dasd asks of their roles.

    NAME is a plugin's or its distribution's, or the name of a component. The checks run real miniature models
    on the CPU; docs/plugins.md lists the attributes of the suites. Exit code 1: a check failed.

    \b
    Example:
      dasd plugins check my-lengths
      dasd plugins check my-server --role teacher -o 'command=[python, answer.py]'
    """
    from dasd.errors import PluginError

    if find_spec("pytest") is None:
        raise PluginError("`dasd plugins check` runs its checks with pytest: pip install pytest")
    components = _components(name, role)
    settings = _settings(components, options)
    echo(f"checking {', '.join(component.label for component in components)}", err=True)
    results = run_suites(components, settings)
    if as_json:
        print_json(
            {"name": name, "passed": not _failed(results), "checks": [asdict(result) for result in results]}
        )
    else:
        show(components, results)
    if _failed(results):
        click.get_current_context().exit(1)


def _components(name: str, role: str | None) -> list[Component]:
    """Components of the plugin (or of that name) that have a suite."""
    from dasd.cli.plugins_found import find_records
    from dasd.errors import PluginError
    from dasd.plugins.host import PluginHost

    host = PluginHost.load(warn=lambda _text: None)
    records = find_records(host, name)
    for record in records:
        if record.error:
            raise PluginError(f"plugin {record.name} ({record.distribution}) doesn't load: {record.error}")
    found = [component for record in records for component in record.components]
    if not any(name in (record.name, record.distribution) for record in records):
        found = [c for c in found if c.name == name] or found
    wanted = [c for c in found if c.role in SUITES and role in (None, c.role)]
    if not wanted:
        brought = ", ".join(f"{c.role} {c.name}" for c in found) or "no component"
        raise PluginError(
            f"{name!r} brings {brought}; wanted a component of role {role or ', '.join(SUITES)}, which have suites"
        )
    return wanted


def _settings(components: list[Component], options: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Label of each component -> attributes of its suite. Raises InputError for a key that none knows."""
    import dasd.testing
    from dasd.errors import InputError
    from dasd.recipe.yaml import parse

    found: dict[str, dict[str, Any]] = {c.label: {"name": c.name, "options": {}} for c in components}
    for option in options:
        key, equals, text = option.partition("=")
        if not equals:
            raise InputError(f"-o {option}: wanted KEY=VALUE")
        value, known = parse(text, f"-o {key}")[0], False
        for component in components:
            fields = component.options.model_fields if component.options is not None else None
            if fields is not None and key in fields:
                found[component.label]["options"][key] = value
                known = True
            elif key in suite_attributes(getattr(dasd.testing, SUITES[component.role])):
                found[component.label][key] = value
                known = True
            elif fields is None:
                found[component.label]["options"][key] = value
                known = True
        if not known:
            labels = ", ".join(found)
            raise InputError(f"-o {key}: neither an option of {labels} nor an attribute of a suite")
    return found


def suite_attributes(suite: type) -> list[str]:
    """Attributes of a suite that may be set: public ones that aren't the component's own."""
    names = [name for cls in suite.__mro__ for name in vars(cls).get("__annotations__", {})]
    return sorted({n for n in names if not n.startswith("_")} - {"role", "name", "options"})


def run_suites(components: list[Component], settings: dict[str, dict[str, Any]]) -> list[CheckResult]:
    """Run the suites in a Python of their own, with pytest; PluginError where that itself fails."""
    from dasd.errors import PluginError

    with tempfile.TemporaryDirectory(prefix="dasd-check-") as directory:
        results, file = Path(directory) / "results.jsonl", Path(directory) / "test_plugin.py"
        file.write_text(_test_file(components, settings), encoding="utf-8")
        (Path(directory) / "pytest.ini").write_text("[pytest]\n")
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "dasd.testing.results",
            "--results-file",
            str(results),
        ]
        command += ["-p", "no:cacheprovider", "-q", "-c", str(Path(directory) / "pytest.ini"), str(file)]
        # Options that somebody keeps for tests of their own would change which checks are run.
        environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        records = [json.loads(line) for line in results.read_text().splitlines()] if results.is_file() else []
        if done.returncode not in (0, 1) or not records:
            raise PluginError(
                f"the checks ended with exit code {done.returncode}:\n{(done.stdout + done.stderr)[-2000:].strip()}"
            )
    found = []
    for record in records:
        del record["file"]
        component = components[int(record.pop("suite").removeprefix("Test"))]
        found.append(CheckResult(component.role, component.name, **record))
    return found


def _test_file(components: list[Component], settings: dict[str, dict[str, Any]]) -> str:
    """A test file as a plugin's author would write it."""
    lines = ["import dasd.testing"]
    for number, component in enumerate(components):
        lines.append(f"\n\nclass Test{number}(dasd.testing.{SUITES[component.role]}):")
        lines += [f"    {key} = {value!r}" for key, value in settings[component.label].items()]
    return "\n".join(lines) + "\n"


def _failed(results: list[CheckResult]) -> list[CheckResult]:
    return [result for result in results if result.outcome == "failed"]


def show(components: list[Component], results: list[CheckResult]) -> None:
    """Each component's checks as a table, then what did not pass, each cause once."""
    for component in components:
        own = [r for r in results if (r.role, r.name) == (component.role, component.name)]
        passed = sum(result.outcome == "passed" for result in own)
        echo(f"{component.label}: {passed} of {len(own)} checks passed")
        print_table(
            ("check", "outcome", "seconds"),
            [(r.check.removeprefix("test_").replace("_", " "), r.outcome, f"{r.seconds:.1f}") for r in own],
            right=(2,),
        )
        for (outcome, reason), alike in _by_cause(own).items():
            names = [result.check.removeprefix("test_").replace("_", " ") for result in alike]
            if len(alike) == 1:
                echo(f"\n{outcome}: {names[0]}\n  wanted: {alike[0].doc}\n  got: {reason}")
            else:
                echo(f"\n{outcome}, {len(alike)} checks of one cause: {', '.join(names)}\n  got: {reason}")


def _by_cause(results: list[CheckResult]) -> dict[tuple[str, str], list[CheckResult]]:
    """What didn't pass, by outcome and reason: what can't even be made fails every check alike."""
    found: dict[tuple[str, str], list[CheckResult]] = {}
    for result in results:
        if result.outcome != "passed":
            found.setdefault((result.outcome, result.reason), []).append(result)
    return found
