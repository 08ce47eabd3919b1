"""``dasd plugins``: what is installed, what it brings, why something doesn't load; writing and checking one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dasd.base.printable import echo
from dasd.cli.options import json_option, print_json, print_table
from dasd.cli.plugins_check import check
from dasd.cli.plugins_found import find_records
from dasd.cli.plugins_new import new

if TYPE_CHECKING:
    from dasd.plugins.components import Component
    from dasd.plugins.host import PluginHost, PluginRecord


@click.group()
def plugins() -> None:
    """List plugins and what they bring.

    \b
    Example:
      dasd plugins list
      dasd plugins info echo
      dasd plugins new my-lengths
      dasd plugins check my-lengths
    """


plugins.add_command(new)
plugins.add_command(check)


_timeout = click.option(
    "--timeout",
    type=click.FloatRange(min=0.1, max=3600),
    default=10.0,
    show_default=True,
    help="Seconds that each plugin may take to load; one that takes longer is listed as broken.",
)


@plugins.command("list")
@json_option
@_timeout
def list_(as_json: bool, timeout: float) -> None:
    """List built-ins and installed plugins, the broken ones with their cause, and components by role.

    \b
    Example:
      dasd plugins list --json
    """
    host = _load(timeout)
    commands = _commands(host)
    if as_json:
        components: dict[str, list[dict[str, Any]]] = {}
        for component in host.registry.components():
            components.setdefault(component.role, []).append(_component(component))
        print_json({"plugins": [_record(r, commands) for r in host.plugins], "components": components})
        return
    print_table(
        ("plugin", "distribution", "version", "state", "brings"),
        [
            (r.name, r.distribution, r.version, "broken" if r.error else "loaded", _brings(r, commands))
            for r in host.plugins
        ],
    )
    for record in host.plugins:
        if record.error:
            echo(f"\n{record.name} is broken: {record.error}")


@plugins.command()
@click.argument("name")
@json_option
@_timeout
def info(name: str, as_json: bool, timeout: float) -> None:
    """Show one plugin: its hooks, its components and their options.

    NAME is a plugin's or its distribution's, or the name of a component.

    \b
    Example:
      dasd plugins info echo
    """
    host = _load(timeout)
    commands = _commands(host)
    found = find_records(host, name)
    if as_json:
        records = [_record(record, commands) for record in found]
        print_json(records[0] if len(records) == 1 else records)
        return
    for record in found:
        _show(record, commands)


_OPTIONS = {
    "trainer": "trainer.options",
    "evaluator": "evaluation.options",
    "selector": "select.options",
    "verifier": "verifier.options",
}
"""Role -> where a recipe has a component's options; under the section of what else names it."""


def _load(seconds: float) -> PluginHost:
    from dasd.plugins.host import PluginHost

    # The listing itself tells of broken ones.
    return PluginHost.load(warn=lambda _text: None, seconds=seconds)


def _commands(host: PluginHost) -> dict[str, list[str]]:
    """Names of the commands that each plugin adds."""
    return {r.name: sorted(host.commands_of(r)) for r in host.plugins if "dasd_commands" in r.hooks}


def _brings(record: PluginRecord, commands: dict[str, list[str]]) -> str:
    roles = dict.fromkeys(component.role for component in record.components)
    parts = [f"{role}: {', '.join(c.name for c in record.components if c.role == role)}" for role in roles]
    if commands.get(record.name):
        parts.append(f"command: {', '.join(commands[record.name])}")
    watching = [hook for hook in record.hooks if hook.startswith("dasd_stage")]
    return "; ".join(parts + (["watches stages"] if watching else []))


def _component(component: Component) -> dict[str, Any]:
    options = component.options
    return {
        "role": component.role,
        "name": component.name,
        "plugin": component.owner.plugin,
        "doc": component.doc,
        "options": {
            name: {"required": field.is_required(), "description": field.description or ""}
            for name, field in (options.model_fields if options else {}).items()
        },
    }


def _record(record: PluginRecord, commands: dict[str, list[str]]) -> dict[str, Any]:
    return {
        "name": record.name,
        "distribution": record.distribution,
        "version": record.version,
        "summary": record.summary,
        "builtin": record.builtin,
        "loaded": record.error is None,
        "error": record.error,
        "hooks": list(record.hooks),
        "commands": commands.get(record.name, []),
        "components": [_component(component) for component in record.components],
    }


def _show(record: PluginRecord, commands: dict[str, list[str]]) -> None:
    echo(f"{record.name} ({record.distribution} {record.version}): {record.summary}".rstrip(": "))
    if record.error:
        echo(f"  broken: {record.error}")
        return
    echo(f"  hooks: {', '.join(record.hooks)}")
    for name in commands.get(record.name, []):
        echo(f"  command {name}")
    for component in record.components:
        echo(f"  {component.role} {component.name}: {component.doc}".rstrip(": "))
        for name, field in (component.options.model_fields if component.options else {}).items():
            needed = " (needed)" if field.is_required() else ""
            echo(f"    {_where(component)}.{name}{needed}: {field.description or ''}".rstrip(": "))


def _where(component: Component) -> str:
    """Where a recipe has the options of a component."""
    of_filter = component.role == "filter"
    return f"filters.options.{component.name}" if of_filter else _OPTIONS.get(component.role, "options")
