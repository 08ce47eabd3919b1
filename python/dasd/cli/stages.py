"""``dasd questions``, ``dasd sample`` ...: one kind of stage alone, on a run directory or on files of responses.

They differ in nothing but the kind and its words, so one function makes all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dasd.base.printable import echo
from dasd.cli.evaluate_model import Asked, evaluate_model, model_options
from dasd.cli.options import (
    F,
    console_of,
    override_option,
    plugins_option,
    print_table,
    quiet_option,
    run_option,
    verbose_option,
)

if TYPE_CHECKING:
    from dasd.base.progress import Console
    from dasd.store import Run

ON_FILES = ("sample", "filter", "dedup", "score", "select")
"""Kinds that need nothing but responses."""
_MODEL_HELP = (
    "With --benchmarks, evaluates MODEL alone: a model directory, a hub name, or a model that ships with dasd. "
    "Attempts and caps are the benchmark's own where it has some. --recipe then lends the student's backend "
    "settings, system prompt, seed and section `evaluation`. The same command goes on where it was interrupted."
)
_MODEL_EXAMPLES = (
    "  dasd evaluate dasd:mini-student --benchmarks miniature --recipe demo\n"
    "  dasd evaluate models/mine --benchmarks aime24,gpqa-diamond,my-questions.jsonl --backend vllm"
)
SUFFIXES = (".parquet", ".jsonl")
_METAVARS = {"evaluate": "RUN_DIR|MODEL"}
_OR_FILES = ", or files of responses (.parquet, .jsonl), for which --run is"


def _stage_command(kind: str, short: str, text: str) -> click.Command:
    @click.command(kind, help=_help(kind, short, text))
    @click.argument(
        "targets",
        metavar=_METAVARS.get(kind, "RUN_DIR|FILE..." if kind in ON_FILES else "RUN_DIR"),
        nargs=-1,
        required=True,
    )
    @click.option(
        "--recipe", metavar="RECIPE", help="A recipe instead of the run's own; may start a new run."
    )
    @_run_option(kind)
    @plugins_option
    @override_option
    @quiet_option
    @verbose_option
    def command(
        targets: tuple[str, ...],
        recipe: str | None,
        plugins: tuple[str, ...],
        overrides: tuple[str, ...],
        quiet: bool,
        verbose: bool,
        directory: Path | None = None,
        **of_model: Any,
    ) -> None:
        paths = tuple(Path(target) for target in targets)
        console = console_of(quiet, verbose)
        asked = Asked(**of_model) if of_model else None
        if asked is not None and asked.benchmarks and len(targets) == 1:
            evaluate_model(targets[0], asked, recipe, plugins, overrides, console, directory)
        elif kind in ON_FILES and any(path.suffix in SUFFIXES and not path.is_dir() for path in paths):
            _on_files(kind, paths, recipe, plugins, overrides, console, directory)
        elif asked is not None and (len(targets) > 1 or directory is not None or asked.given()):
            given = [*asked.given(), *(["--run"] if directory is not None else [])]
            extra = f"; {', '.join(given)} belong to MODEL with --benchmarks" if given else ""
            raise click.UsageError(f"wanted one RUN_DIR, or one MODEL and --benchmarks LIST{extra}")
        elif len(targets) > 1 or directory is not None:
            raise click.UsageError(f"wanted one run directory{_OR_FILES if kind in ON_FILES else ''}")
        else:
            _on_run(kind, paths[0], recipe, plugins, overrides, console)

    return command


def _run_option(kind: str) -> Callable[[F], F]:
    """``--run DIR``, for those that take files, and the options of an evaluation of one model."""
    if kind == "evaluate":
        return model_options
    if kind not in ON_FILES:
        return lambda command: command
    return run_option("Run directory for FILE; runs/ and the names of recipe and file when absent.")


def _on_run(
    kind: str,
    run: Path,
    recipe: str | None,
    plugins: tuple[str, ...],
    overrides: tuple[str, ...],
    console: Console,
) -> None:
    from dasd.errors import InputError
    from dasd.pipeline.runner import Pipeline

    own = run / "recipe.yaml"
    if recipe is None and not own.is_file():
        alone = ", or evaluate a model alone with --benchmarks LIST" if kind == "evaluate" else ""
        raise InputError(
            f"{run} is not a run directory (no recipe.yaml); start one with --recipe RECIPE{alone}"
        )
    made = Pipeline.from_recipe(recipe or own, plugins, overrides, console)
    _print(made.run(run, only=kind), kind)


def _on_files(
    kind: str,
    files: tuple[Path, ...],
    recipe: str | None,
    plugins: tuple[str, ...],
    overrides: tuple[str, ...],
    console: Console,
    directory: Path | None,
) -> None:
    from dasd.cli.files import narrowed
    from dasd.pipeline.runner import RUNS, Pipeline
    from dasd.plugins.recipe import Recipe

    if recipe is None:
        raise click.UsageError(
            f"--recipe RECIPE is needed with files: it says how to {kind} and which models"
        )
    made = Pipeline.from_recipe(narrowed(Recipe.load(recipe, overrides, plugins), files), console=console)
    settings = made.recipe.settings
    run = made.run(directory or RUNS / f"{settings.name}-{files[0].stem}", until=kind)
    _print(run, kind)
    echo(f"\nrows: {run.stage_directory(f'{kind}-{settings.stages[0].name}')}")


def _print(run: Run, kind: str) -> None:
    rows = [
        (
            stage.name,
            ", ".join(f"{count} {frame}" for frame, count in stage.rows.items()),
            _words(stage.summary),
        )
        for stage in run.stages()
        if stage.kind == kind
    ]
    print_table(("stage", "rows", "figures"), rows)


def _help(kind: str, short: str, text: str) -> str:
    on_run = (
        f"{short}\n\n{text} Stages that it reads must be done; a stage whose result stands is skipped.\n\n"
    )
    example = f"\b\nExample:\n  dasd {kind} runs/demo"
    if kind == "evaluate":
        return f"{on_run}{_MODEL_HELP}\n\n{example}\n{_MODEL_EXAMPLES}"
    if kind not in ON_FILES:
        return on_run + example
    return (
        f"{on_run}With FILE, Parquet or JSON lines of responses, the recipe's first off-policy stage takes them "
        f"instead of the teacher's, and what comes before `{kind}` runs as well. A row has a `text`, a question "
        "(`messages`, `question`, or a `question_id` of the recipe's questions) and where it is known "
        f"`token_ids` and `logprobs`.\n\n{example}\n"
        f"  dasd {kind} responses.jsonl --recipe my.yaml --run runs/mine"
    )


def _words(summary: object, limit: int = 6) -> str:
    """The plain figures of a summary, e.g. ``kept=311, share=0.93``."""
    if not isinstance(summary, dict):
        return ""
    plain = {k: v for k, v in summary.items() if isinstance(v, (int, float, str)) and not isinstance(v, bool)}
    shown = [f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in plain.items()]
    return ", ".join(shown[:limit])


questions = _stage_command(
    "questions", "Collect the questions.", "Reads every source of the recipe, training and evaluation."
)
sample = _stage_command(
    "sample", "Let the teacher answer them.", "Samples the recipe's candidates at each stage's temperature."
)
filter_ = _stage_command(
    "filter", "Judge the responses.", "Applies the recipe's filters; every verdict is kept with its reason."
)
dedup = _stage_command(
    "dedup",
    "Find duplicates among responses.",
    "Exact and near duplicates of an earlier response to the same question; questions are compared before sampling.",
)
score = _stage_command(
    "score", "Score the responses under the student.", "Only the responses that are still kept are scored."
)
select = _stage_command(
    "select", "Choose what to train on.", "Ranks each question's candidates and says what the choice did."
)
mix = _stage_command(
    "mix",
    "Let the teacher go on where the student drifts.",
    "Student answers, cut, and continued by the teacher.",
)
train = _stage_command(
    "train", "Train the student.", "Runs those trainings whose data and starting checkpoint are there."
)
evaluate = _stage_command(
    "evaluate", "Evaluate the student.", "Before training and after every training that is done."
)
report = _stage_command("report", "Write report.html and report.json.", "One page that opens offline.")
