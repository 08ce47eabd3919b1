"""``dasd export``: what a run trains on, in the format of another tool."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from dasd.base.printable import echo
from dasd.cli.options import json_option, plugins_option, print_json, print_table, quiet_option


@click.command()
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--to",
    metavar="FORMAT",
    required=True,
    help="trl, llamafactory, sharegpt, text, logprobs, or a plugin's (`dasd plugins list`).",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Directory to write; exports/RUN-FORMAT when absent. An earlier export there is replaced.",
)
@click.option(
    "--stage", "stages", multiple=True, metavar="NAME", help="This training alone. May be repeated."
)
@click.option(
    "--rows",
    type=click.Choice(["trained", "sampled"]),
    default="trained",
    show_default=True,
    help="What is trained on, or every response that the teacher gave, to select anew.",
)
@click.option(
    "--files",
    type=click.Choice(["jsonl", "parquet"]),
    help="Kind of the data files; what suits the format when absent.",
)
@click.option(
    "-o",
    "--option",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    help="An option of the format, e.g. -o form=tokens. May be repeated.",
)
@plugins_option
@json_option
@quiet_option
def export(
    run: Path,
    to: str,
    output: Path | None,
    stages: tuple[str, ...],
    rows: Any,
    files: Any,
    options: tuple[str, ...],
    plugins: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> None:
    """Write what a run trains on for another tool.

    One file for each training: the selected responses with their questions, whole responses where the student began
    and the teacher went on; beside it the tool's own configuration, with packed neighbours isolated and the prompt
    masked. What the format can't carry is told and stands in export.json. The training itself need not have run.

    \b
    Example:
      dasd export runs/demo --to trl
      dasd export runs/demo --to llamafactory --output exports/lf -o template=qwen3_nothink
      dasd export runs/demo --to text --rows sampled
    """
    from dasd.base.progress import Console
    from dasd.plugins.host import PluginHost
    from dasd.results.export import export_run

    console = Console(quiet)
    place, manifest = export_run(
        run,
        to,
        output,
        stages=stages,
        rows=rows,
        files=files,
        options=_options(options),
        registry=PluginHost.load(plugins, console.warn).registry,
        console=console,
    )
    if as_json:
        print_json({"directory": str(place), **manifest.model_dump(mode="json")})
        return
    print_table(
        ("file", "training", "rows", "bytes"),
        [
            (file.path, file.stage or "", "" if file.rows is None else str(file.rows), str(file.bytes))
            for file in manifest.files
        ],
        right=(2, 3),
    )
    for line in manifest.use:
        console.info(f"next: {line}")
    echo(place)


def _options(pairs: Sequence[str]) -> dict[str, Any]:
    """``-o key=value``, values as YAML reads them."""
    from dasd.errors import InputError
    from dasd.recipe.yaml import parse

    found: dict[str, Any] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key.strip():
            raise InputError(f"-o {pair}: wanted KEY=VALUE, e.g. -o form=tokens")
        found[key.strip()] = parse(value, f"-o {key}")[0]
    return found
