"""``dasd recipes``: the bundled recipes, a recipe as it resolves, and a commented one to adapt."""

from __future__ import annotations

import re
from pathlib import Path

import click

from dasd.base.printable import echo
from dasd.cli.options import json_option, override_option, plugins_option, print_json, print_table
from dasd.recipe.yaml import read_text


@click.group()
def recipes() -> None:
    """List, show and start recipes.

    \b
    Example:
      dasd recipes list
      dasd recipes init my.yaml
    """


@recipes.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the recipes that ship with dasd.

    \b
    Example:
      dasd recipes list
    """
    from dasd.recipe.draft import bundled

    found = bundled()
    if as_json:
        print_json([{"name": r.name, "summary": r.summary, "path": str(r.path)} for r in found])
    else:
        print_table(("recipe", "what it does"), [(r.name, r.summary) for r in found])


@recipes.command()
@click.argument("recipe", default="demo")
@click.option("--resolved", is_flag=True, help="Every key, with defaults, overrides and plugins applied.")
@plugins_option
@override_option
@json_option
def show(
    recipe: str, resolved: bool, plugins: tuple[str, ...], overrides: tuple[str, ...], as_json: bool
) -> None:
    """Show a recipe: its file, or every key of it as it would run.

    \b
    Example:
      dasd recipes show demo > my.yaml
      dasd recipes show my.yaml --resolved -o trainer.epochs=2
    """
    from dasd.plugins.recipe import Recipe
    from dasd.recipe.draft import find

    if resolved or overrides or plugins or as_json:
        loaded = Recipe.load(recipe, overrides, plugins)
        if as_json:
            print_json(loaded.settings.model_dump(mode="json"))
        else:
            echo(loaded.to_yaml(), nl=False)
    else:
        echo(read_text(find(recipe), recipe), nl=False)


@recipes.command()
@click.argument("output", type=click.Path(path_type=Path, dir_okay=False), default=Path("recipe.yaml"))
@click.option("--from", "source", default="demo", show_default=True, help="Recipe to start from.")
@click.option("--force", is_flag=True, help="Write over an existing file.")
def init(output: Path, source: str, force: bool) -> None:
    """Write a commented recipe to OUTPUT: every key, its default and its meaning.

    \b
    Example:
      dasd recipes init my.yaml --from smollm2
    """
    from dasd.errors import InputError
    from dasd.plugins.recipe import Recipe
    from dasd.recipe.docs import template

    loaded = Recipe.load(source)
    text = template(
        source, loaded.settings, re.sub(r"[^A-Za-z0-9._-]", "-", output.stem).lstrip("-._") or None
    )
    if output.exists() and not force:
        raise InputError(f"{output} is there already; choose another name, or --force to write over it")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, encoding="utf-8")
    echo(output)


@recipes.command()
def keys() -> None:
    """Print the reference of all keys as Markdown (docs/recipe.md).

    \b
    Example:
      dasd recipes keys > docs/recipe.md
    """
    from dasd.recipe.docs import keys_markdown

    echo(keys_markdown(), nl=False)
