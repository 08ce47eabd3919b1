"""``dasd plugins new``: an installable, tested plugin out of the templates in ``dasd/plugins/template``."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

from dasd.base.printable import echo

__all__ = ["new"]

TEMPLATES = Path(__file__).parent.parent / "plugins" / "template"

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


class Kind(NamedTuple):
    """What a plugin of a role is about. ``recipe`` shows how it is used, ``check`` how it is checked."""

    about: str
    recipe: str
    needs: str = "dasd"
    check: str = ""


KINDS = {
    "selector": Kind(
        "Selector for dasd: the candidate of a typical length",
        "select:\n  selector: {plugin}\n  options:\n    quantile: 0.5",
    ),
    "teacher": Kind(
        "Teacher for dasd: a program of yours, asked once a response",
        "teacher:\n  model: openai/gpt-oss-120b      # its tokenizer cuts the responses into tokens\n"
        "  backend: {plugin}\n  options:\n    command: [python, answer.py]\n"
        "select:\n  selector: random                # the program tells no log-probabilities",
        "dasd[torch]",
        " -o 'command=[python, tests/program.py]'",
    ),
    "trainer": Kind(
        "Trainer for dasd: the last layers alone",
        "trainer:\n  trainer: {plugin}\n  options:\n    layers: 2",
        "dasd[torch]",
    ),
    "evaluator": Kind(
        "Evaluator for dasd: an answer that was cut off is wrong",
        "evaluation:\n  evaluator: {plugin}\n  options:\n    cut_off: false",
        "dasd[torch]",
    ),
    "filter": Kind(
        "Filter for dasd: drops responses that decline to answer",
        "filters:\n  extra: [{plugin}]\n  options:\n    {plugin}:\n      reasoning: true",
        "dasd[torch]",
    ),
    "questions": Kind(
        "Questions for dasd: durations in minutes, made by a procedure",
        "questions:\n  train:\n    - source: {plugin}\n      count: 1000\n"
        "  eval:\n    - source: {plugin}\n      count: 100",
    ),
    "verifier": Kind(
        "Verifier for dasd: lists in any order",
        "questions:\n  train:\n    - source: file\n      options:\n        path: questions.jsonl\n"
        "        verifier:\n          name: {plugin}\n          options:\n            extra: 1",
        check=' -o \'right=[["a, b", "b, a", ""]]\' -o \'wrong=[["a", "b", ""]]\'',
    ),
}
"""Role -> what ``dasd plugins new --role ROLE`` writes."""


@click.command()
@click.argument("name")
@click.option(
    "--role", type=click.Choice(list(KINDS)), default="selector", show_default=True, help="What it brings."
)
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    help="Where to write it; must be new or empty. dasd-NAME here when absent.",
)
def new(name: str, role: str, directory: Path | None) -> None:
    """Write an installable, tested plugin to start from.

    NAME is the plugin's and its component's: small letters, digits and hyphens. It is written to work: its
    own tests run dasd's conformance suite.

    \b
    Example:
      dasd plugins new my-lengths
      dasd plugins new my-server --role teacher
    """
    plugin = checked_name(name, role)
    directory = directory or Path(f"dasd-{plugin}")
    written = write_plugin(plugin, role, directory)
    for path in written:
        echo(path)
    echo(
        f"\nNext:\n  pip install -e {directory} pytest\n  pytest {directory}\n"
        f"  dasd plugins info {plugin}\n  dasd pipeline RECIPE --plugins {plugin}",
        err=True,
    )


def checked_name(name: str, role: str) -> str:
    """The plugin's name without ``dasd-``. Raises InputError for one that can't be used or is taken."""
    from dasd.errors import InputError
    from dasd.plugins.host import PluginHost

    plugin = name.removeprefix("dasd-")
    if not _NAME.fullmatch(plugin) or keyword.iskeyword(plugin):
        raise InputError(
            f"plugin name {name!r}: wanted small letters, digits and single hyphens, beginning with a letter, "
            "e.g. my-lengths"
        )
    host = PluginHost.load(warn=lambda _text: None)
    taken = [record.name for record in host.plugins if record.name == plugin]
    taken += [
        component.label
        for component in host.registry.components()
        if (component.role, component.name) == (role, plugin)
    ]
    if taken:
        raise InputError(f"plugin name {name!r} is taken: {taken[0]} is installed; choose another name")
    return plugin


def write_plugin(plugin: str, role: str, directory: Path) -> list[Path]:
    """Write the files of a plugin of that role; returns them. Raises InputError where something is there."""
    from jinja2 import Environment, StrictUndefined

    from dasd.errors import InputError

    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise InputError(f"{directory} is there already and isn't empty; name another with --directory")
    kind, module = KINDS[role], f"dasd_{plugin.replace('-', '_')}"
    words = {
        "plugin": plugin,
        "role": role,
        "module": module,
        "distribution": f"dasd-{plugin}",
        "Class": "".join(part.capitalize() for part in plugin.split("-")),
        "about": kind.about,
        "recipe": kind.recipe.format(plugin=plugin),
        "needs": kind.needs,
        "check": kind.check,
    }
    # Python source, not a page: nothing is escaped.
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701
    written = []
    for template, target in _files(role, module):
        path = directory / target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            environment.from_string(template.read_text(encoding="utf-8")).render(words), encoding="utf-8"
        )
        written.append(path)
    marker = directory / "src" / module / "py.typed"
    marker.touch()
    return [*written, marker]


def _files(role: str, module: str) -> Iterator[tuple[Path, str]]:
    """Templates and where they go in the plugin."""
    homes = {"module.py.j2": f"src/{module}/__init__.py", "test.py.j2": f"tests/test_{module}.py"}
    for name in ("pyproject.toml", "README.md"):
        yield TEMPLATES / f"{name}.j2", name
    for template in sorted((TEMPLATES / role).glob("*.j2")):
        plain = template.name.removesuffix(".j2")
        beside = "tests" if plain == "program.py" else f"src/{module}"
        yield template, homes.get(template.name, f"{beside}/{plain}")
