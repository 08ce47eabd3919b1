"""``dasd pipeline``: a recipe from end to end."""

from __future__ import annotations

from pathlib import Path

import click

from dasd.base.printable import echo
from dasd.cli.options import (
    console_of,
    json_option,
    override_option,
    plugins_option,
    print_json,
    print_table,
    quiet_option,
    run_option,
    verbose_option,
)


@click.command()
@click.argument("recipe", default="demo")
@plugins_option
@run_option("Run directory; runs/ and the recipe's name when absent. An existing one is continued.")
@override_option
@click.option("--until", metavar="STAGE", help="Stop after this stage, or after the last of this kind.")
@click.option("--dry-run", is_flag=True, help="Show the stages and which of them would run; change nothing.")
@quiet_option
@verbose_option
@json_option
def pipeline(
    recipe: str,
    plugins: tuple[str, ...],
    directory: Path | None,
    overrides: tuple[str, ...],
    until: str | None,
    dry_run: bool,
    quiet: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Run a recipe from end to end.

    RECIPE is the name of a bundled recipe (`dasd recipes list`) or a YAML file. Stages whose result stands
    are skipped; an interrupted or changed run is continued by the same command.

    \b
    Example:
      dasd pipeline demo
      dasd pipeline my.yaml --run runs/mine -o stages.high.temperature=0.9
    """
    from dasd.cli.summary import print_summary
    from dasd.pipeline.runner import Pipeline

    made = Pipeline.from_recipe(recipe, plugins, overrides, console_of(quiet, verbose))
    if dry_run:
        planned = made.plan(directory)
        if as_json:
            print_json([stage._asdict() for stage in planned])
        else:
            print_table(
                ("", "stage", "kind", "state"),
                [(str(s.number), s.name, s.kind, s.state) for s in planned],
                (0,),
            )
            echo(f"\nrun: {made.directory(directory)}")
        return
    run = made.run(directory, until)
    if as_json:
        print_json(run.report())
    else:
        print_summary(run)
