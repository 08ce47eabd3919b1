"""The hooks that a plugin may implement. One registers components, one adds commands, two observe.

Implement a hook as a function of the same name, marked with ``dasd.api.hookimpl``, in the module (or object)
that the entry point of group ``dasd.plugins`` names. A hook may leave out arguments that it doesn't need.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import click
    from pydantic import JsonValue

    from dasd.plugins.registering import Registry

hookspec = pluggy.HookspecMarker("dasd")


@hookspec
def dasd_register(registry: Registry) -> None:
    """Register components: ``registry.teacher("name", factory)`` and the like for the other roles.

    Called once when the plugin is loaded, with a registry of the plugin's own that is merged when the hook
    returns: an exception leaves nothing behind. Heavy imports belong inside the factories.
    """


@hookspec
def dasd_commands(cli: click.Group) -> None:
    """Add commands to the ``dasd`` command line: ``cli.add_command(command)``.

    Called when a command is asked for that dasd itself doesn't have. A name that dasd has can't be taken.
    """


@hookspec
def dasd_stage_started(run: Path, stage: str) -> None:
    """A stage is about to run. ``run``: the run directory; ``stage``: the stage's name, e.g. ``sample-low``.

    Not called for a stage that is skipped because its result is there already. Exceptions are reported and
    ignored.
    """


@hookspec
def dasd_stage_finished(run: Path, stage: str, seconds: float, summary: Mapping[str, JsonValue]) -> None:
    """A stage has finished and its result is on disk.

    ``seconds``: wall-clock time of this start of the stage; ``summary``: the figures of its manifest.
    Exceptions are reported and ignored.
    """
