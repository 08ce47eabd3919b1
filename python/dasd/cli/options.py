"""Options that several commands share, and how results are written to stdout."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dasd.base.printable import echo

if TYPE_CHECKING:
    from dasd.base.progress import Console

F = TypeVar("F", bound=Callable[..., Any])


def split_names(
    _context: click.Context, _parameter: click.Parameter, values: Sequence[str]
) -> tuple[str, ...]:
    """``--plugins a,b --plugins c`` -> ``("a", "b", "c")``."""
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


plugins_option = click.option(
    "--plugins",
    multiple=True,
    metavar="A,B",
    callback=split_names,
    help="Load exactly these plugins; what they bring becomes the recipe's default for its role.",
)
override_option = click.option(
    "-o",
    "--override",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a key of the recipe, e.g. -o stages.high.temperature=0.9. May be repeated.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
quiet_option = click.option("--quiet", is_flag=True, help="No progress, only warnings and the result.")
verbose_option = click.option(
    "--verbose", is_flag=True, help="Every stage's figures as tables, and one training example's labels."
)


def run_option(text: str) -> Callable[[F], F]:
    """``--run DIR`` as ``directory``; ``text`` is its help."""
    return click.option(
        "--run",
        "directory",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help=text,
    )


def console_of(quiet: bool, verbose: bool) -> Console:
    """What ``--quiet`` and ``--verbose`` ask for; UsageError for both."""
    from dasd.base.progress import Console

    if quiet and verbose:
        raise click.UsageError("--quiet and --verbose are opposites: give one of them")
    return Console(quiet, verbose)


def print_json(value: object) -> None:
    """Indented JSON on stdout."""
    echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """An aligned table on stdout; columns with an index in ``right`` are aligned to the right."""
    if not rows:
        return
    widths = [max(len(str(row[i])) for row in [columns, *rows]) for i in range(len(columns))]
    for row in [columns, ["-" * width for width in widths], *rows]:
        cells = [
            str(cell).rjust(width) if index in right else str(cell).ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        echo("  ".join(cells).rstrip())


def print_list(title: str, lines: Sequence[str]) -> None:
    """Lines under a title; nothing where there are none."""
    if lines:
        echo(f"\n{title}:")
        for line in lines:
            echo(f"  - {line}")
