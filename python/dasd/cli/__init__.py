"""The command line: a click group that imports a command's file when that command is called.

``dasd --help`` shows the short texts below and imports nothing else of dasd.
"""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple

import click

from dasd.base.suggest import nearest
from dasd.version import __version__

__all__ = ["COMMANDS", "LazyGroup", "cli"]


class LazyCommand(NamedTuple):
    """Where a command lives, under which heading it is listed, and its line there."""

    home: str
    heading: str
    short: str


_STAGES = "One stage of a run"
_LOOK = "Look at things"
_OUT = "In and out"

COMMANDS = {
    "pipeline": LazyCommand(
        "dasd.cli.pipeline:pipeline", "The whole method", "Run a recipe from end to end."
    ),
    "plan": LazyCommand(
        "dasd.cli.plan:plan", "The whole method", "Show what a recipe will do and cost, before it does."
    ),
    "questions": LazyCommand("dasd.cli.stages:questions", _STAGES, "Collect the questions."),
    "sample": LazyCommand("dasd.cli.stages:sample", _STAGES, "Let the teacher answer them."),
    "filter": LazyCommand("dasd.cli.stages:filter_", _STAGES, "Judge the responses."),
    "dedup": LazyCommand("dasd.cli.stages:dedup", _STAGES, "Find duplicates among responses."),
    "score": LazyCommand("dasd.cli.stages:score", _STAGES, "Score the responses under the student."),
    "select": LazyCommand("dasd.cli.stages:select", _STAGES, "Choose what to train on."),
    "mix": LazyCommand("dasd.cli.stages:mix", _STAGES, "Let the teacher go on where the student drifts."),
    "train": LazyCommand("dasd.cli.stages:train", _STAGES, "Train the student."),
    "evaluate": LazyCommand("dasd.cli.stages:evaluate", _STAGES, "Evaluate the student."),
    "report": LazyCommand("dasd.cli.stages:report", _STAGES, "Write report.html and report.json."),
    "runs": LazyCommand("dasd.cli.runs:runs", _LOOK, "List, show and compare runs."),
    "scores": LazyCommand("dasd.cli.scores:scores", _LOOK, "Show scores with errors, compare checkpoints."),
    "inspect": LazyCommand("dasd.cli.inspect:inspect", _LOOK, "Look at a response sentence by sentence."),
    "recipes": LazyCommand("dasd.cli.recipes:recipes", _LOOK, "List, show and start recipes."),
    "plugins": LazyCommand("dasd.cli.plugins:plugins", _LOOK, "List plugins and what they bring."),
    "doctor": LazyCommand(
        "dasd.cli.doctor:doctor", _LOOK, "Report versions, devices, plugins and conflicts."
    ),
    "export": LazyCommand("dasd.cli.export:export", _OUT, "Write what a run trains on for another tool."),
    "card": LazyCommand("dasd.cli.card:card", _OUT, "Print the card of a checkpoint or of exported data."),
    "push": LazyCommand("dasd.cli.push:push", _OUT, "Send a checkpoint or exported data to the hub."),
    "import": LazyCommand(
        "dasd.cli.import_:import_", _OUT, "Make a file of responses, or a model directory."
    ),
}
"""Every command of dasd itself. A test holds each line against the command's own help."""


class LazyGroup(click.Group):
    """Looks a command up in COMMANDS first, then among those that plugins add."""

    _plugins_loaded = False

    def list_commands(self, ctx: click.Context) -> list[str]:
        """dasd's own commands, and those of plugins once these are loaded."""
        return [*COMMANDS, *sorted(name for name in super().list_commands(ctx) if name not in COMMANDS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one of dasd's own commands; load plugins only for a name that dasd doesn't have."""
        if cmd_name in COMMANDS:
            module, attribute = COMMANDS[cmd_name].home.split(":")
            command: click.Command = getattr(import_module(module), attribute)
            return command
        self._load_plugins()
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with a suggestion for a misspelt command."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            close = nearest(args[0], self.list_commands(ctx))
            hint = f" Did you mean {close!r}?" if close else ""
            raise click.UsageError(error.message.split("\n")[0].rstrip(".") + f".{hint}", ctx) from error

    def _load_plugins(self) -> None:
        if not self._plugins_loaded and _installed():
            from dasd.plugins.host import PluginHost

            PluginHost.load().commands(self)
        self._plugins_loaded = True

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a plugin's command; dasd's own names can't be taken, nor can those of another plugin."""
        from dasd.errors import PluginError

        name = name or cmd.name or ""
        if name in COMMANDS or name in self.commands:
            raise PluginError(f"command {name!r} is there already")
        super().add_command(cmd, name)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands under their headings, without importing any."""
        for heading in dict.fromkeys(command.heading for command in COMMANDS.values()):
            with formatter.section(heading):
                formatter.write_dl([(n, c.short) for n, c in COMMANDS.items() if c.heading == heading])
        names = _installed()
        if names:
            with formatter.section("Plugins"):
                formatter.write_text(f"{', '.join(names)} (`dasd plugins list` tells what they add)")


def _installed() -> list[str]:
    """Names of installed plugins, from package metadata: nothing of theirs is imported."""
    from dasd.plugins.entry_points import installed_points

    return sorted({point.name for point in installed_points()})


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="dasd", message="%(prog)s %(version)s")
def cli() -> None:
    """Distill a teacher language model into a student by its own responses.

    \b
    Start here:
      dasd pipeline demo                 the whole method on bundled miniature models, in minutes
      dasd recipes init my.yaml          a commented recipe to adapt
      dasd pipeline my.yaml --dry-run    what would run
    """
