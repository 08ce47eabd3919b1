"""``dasd evaluate MODEL --benchmarks LIST``: any model alone, without a teacher and without a training."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dasd.base.printable import echo
from dasd.base.suggest import nearest
from dasd.cli.options import F, run_option, split_names

if TYPE_CHECKING:
    from dasd.base.progress import Console
    from dasd.plugins.registry import Registry
    from dasd.recipe.settings import RecipeSettings

WELL_KNOWN = {
    "dasd-benchmarks": (
        "aime24",
        "aime25",
        "gpqa-diamond",
        "humaneval",
        "livecodebench-v5",
        "livecodebench-v6",
        "math-500",
    ),
    "dasd-lm-eval": ("lm-eval",),
}
"""Benchmarks that people ask for by name, and the plugin that each is in."""
FILES = (".jsonl", ".parquet", ".csv")


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of an evaluation of one model; None: as the recipe or the benchmark says."""

    benchmarks: tuple[str, ...]
    count: int | None
    attempts: int | None
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    backend: str | None
    seed: int | None

    def given(self) -> list[str]:
        """The options that were given, as they are typed."""
        names = [name for name in self.__slots__ if getattr(self, name) not in (None, ())]
        return [f"--{name.replace('_', '-')}" for name in names]


def model_options(command: F) -> F:
    """The options of an evaluation of one model."""
    at_least_one = click.IntRange(min=1)
    for option in reversed(
        (
            click.option(
                "--benchmarks",
                multiple=True,
                metavar="LIST",
                callback=split_names,
                help="For MODEL: NAME, NAME:VALUE or a .jsonl, .parquet or .csv file, with commas between several.",
            ),
            run_option(
                "Run directory for MODEL; runs/evaluate-..., the same for the same command, when absent."
            ),
            click.option(
                "--count", type=at_least_one, metavar="N", help="Questions of each benchmark at most."
            ),
            click.option("--attempts", type=at_least_one, metavar="N", help="Answers sampled a question."),
            click.option(
                "--max-tokens", type=at_least_one, metavar="N", help="Cap on the tokens of an answer."
            ),
            click.option("--temperature", type=click.FloatRange(0, 5), metavar="T", help="1.0 when absent."),
            click.option(
                "--top-p",
                type=click.FloatRange(0, 1, min_open=True),
                metavar="P",
                help="Nucleus; 1.0 when absent.",
            ),
            click.option("--backend", metavar="NAME", help="Inference backend that runs MODEL."),
            click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Seed of the answers."),
        )
    ):
        command = option(command)
    return command


def evaluate_model(
    model: str,
    asked: Asked,
    recipe: str | None,
    plugins: tuple[str, ...],
    overrides: tuple[str, ...],
    console: Console,
    directory: Path | None,
) -> None:
    """Evaluate ``model`` on ``asked.benchmarks`` into a run directory, and print its scores.

    ``recipe``: one whose student's backend settings, system prompt, seed and section ``evaluation`` are taken.
    """
    from dasd.cli.scores import scores
    from dasd.pipeline.runner import RUNS, Pipeline
    from dasd.plugins.host import PluginHost
    from dasd.plugins.recipe import Recipe

    loaded = Recipe.load(recipe, (), plugins) if recipe is not None else None
    base = loaded.settings if loaded is not None else None
    requested = list(dict.fromkeys([*(base.plugins if base else ()), *plugins]))
    host = (loaded.host if loaded is not None else None) or PluginHost.load(requested, console.warn)
    data = recipe_data(_reference(model), asked, base, requested, host.registry)
    data["name"] = _name(data, overrides)
    made = Pipeline.from_recipe(Recipe.load(data, overrides, host=host), console=console)
    place = directory or RUNS / str(data["name"])
    _refuse_other_run(place)
    run = made.run(place, until="evaluate")
    nothing: dict[str, tuple[str, ...]] = dict.fromkeys(("checkpoints", "benchmarks", "ks"), ())
    click.get_current_context().invoke(scores, runs=(run.directory,), quiet=console.quiet, **nothing)
    echo(f"\nrun: {run.directory}")


def recipe_data(
    model: str, asked: Asked, base: RecipeSettings | None, plugins: Sequence[str], registry: Registry
) -> dict[str, Any]:
    """The recipe of the evaluation, as raw data without a name. InputError for a benchmark that isn't there."""
    student: dict[str, Any] = base.student.model_dump(mode="json") if base else {}
    student |= {"model": model, "revision": None}
    if asked.backend is not None:
        student["backend"] = asked.backend
    own = {"count": asked.count, "attempts": asked.attempts, "max_tokens": asked.max_tokens}
    own = {key: value for key, value in own.items() if value is not None}
    data: dict[str, Any] = {"student": student, "plugins": list(plugins)}
    data["questions"] = {"eval": [{**source(text, registry), **own} for text in asked.benchmarks]}
    data["evaluation"] = base.evaluation.model_dump(mode="json") if base else {}
    if base is not None:
        data["questions"]["system_prompt"] = base.questions.system_prompt
        data["seed"] = base.seed
        data["sampling"] = {"chunk": base.sampling.chunk}
        data["unsafe_run_code_without_sandbox"] = base.unsafe_run_code_without_sandbox
    for key, value in (("temperature", asked.temperature), ("top_p", asked.top_p)):
        if value is not None:
            data["evaluation"][key] = value
    if asked.seed is not None:
        data["seed"] = asked.seed
    return data


def source(text: str, registry: Registry) -> dict[str, Any]:
    """What one item of ``--benchmarks`` means: a source of questions. InputError says what is there instead."""
    from dasd.errors import InputError

    path = Path(text).expanduser()
    if path.suffix in FILES:
        if path.is_file():
            return {"source": "file", "options": {"path": str(path.absolute())}}
        if ":" not in text:
            raise InputError(
                f"--benchmarks {text}: no such file; wanted a file of questions, or a benchmark's name"
            )
    name, colon, value = text.partition(":")
    if name not in registry.names("questions"):
        raise InputError(f"--benchmarks {text}: {_unknown(name, registry.names('questions'))}")
    registered = registry.component("questions", name)
    argument = registered.argument
    if not colon:
        fields = registered.options.model_fields if registered.options is not None else {}
        if argument is not None and argument in fields and fields[argument].is_required():
            raise InputError(
                f"--benchmarks {text}: wanted {name}:{argument.upper()}; {fields[argument].description}"
            )
        return {"source": name}
    if argument is None or not value:
        wanted = f"{name} takes no value" if argument is None else f"wanted {name}:{argument.upper()}"
        raise InputError(f"--benchmarks {text}: {wanted}")
    if argument == "path" or argument.endswith("_path"):
        value = str(Path(value).expanduser().absolute())
    return {"source": name, "options": {argument: value}}


def _unknown(name: str, registered: Sequence[str]) -> str:
    homes = {each: plugin for plugin, names in WELL_KNOWN.items() for each in names}
    close = nearest(name, [*registered, *homes])
    meant = name if name in homes else close or ""
    parts = [f"there is no benchmark {name!r}"]
    if meant and meant != name:
        parts.append(f"; did you mean {meant!r}?")
    parts.append(f" Registered: {', '.join(registered)}.")
    if meant in homes and meant not in registered:
        parts.append(f" {meant} comes with a plugin: pip install {homes[meant]}")
        parts.append(
            f" (and name it with --plugins {homes[meant].removeprefix('dasd-')} where you name any)."
        )
    elif not meant:
        more = [each for each in homes if each not in registered]
        parts.append(f" With the plugins {' and '.join(WELL_KNOWN)}: {', '.join(more)}." if more else "")
    return "".join(parts)


def _reference(model: str) -> str:
    """What the recipe calls the model: a directory by its whole path, so that it is one wherever one stands."""
    from dasd.errors import InputError

    path = Path(model).expanduser()
    if (path / "run.json").is_file():
        kept = path / "checkpoints"
        given = sorted(path.name for path in kept.iterdir() if path.is_dir()) if kept.is_dir() else []
        example = f"; its checkpoints are models: {kept / given[-1]}" if given else ""
        raise InputError(
            f"{model} is a run directory, which `dasd evaluate {model}` evaluates by its own recipe; with "
            f"--benchmarks give a model{example}"
        )
    if path.is_dir():
        return str(path.absolute())
    if model.startswith(("./", "../", "/", "~")):
        raise InputError(
            f"{model}: no such directory; wanted a model directory, a hub name, or dasd:mini-student"
        )
    return model


def _name(data: dict[str, Any], overrides: Sequence[str]) -> str:
    """Name of the run directory: readable, and another one for another request."""
    from dasd.base.seeds import digest

    request = digest(json.dumps(data, sort_keys=True), *overrides)
    last = re.split(r"[/:\\]", data["student"]["model"].rstrip("/\\"))[-1]
    labels = [
        Path(str(next(iter(each.get("options", {}).values()), each["source"]))).stem
        for each in data["questions"]["eval"]
    ]
    words = re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join([last, *labels]))[:60].strip("-._")
    return f"evaluate-{words}-{request[:6]}"


def _refuse_other_run(place: Path) -> None:
    """InputError for the run of a whole recipe, whose stages would have to go."""
    from dasd.errors import InputError
    from dasd.recipe.evaluation_recipe import EvaluationRecipe
    from dasd.store import Run

    if (place / "recipe.yaml").is_file() and not isinstance(Run.open(place).settings, EvaluationRecipe):
        raise InputError(f"{place} is the run of a recipe that trains; give --run another directory")
