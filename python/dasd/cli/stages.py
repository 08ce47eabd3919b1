"""``dasd questions``, ``dasd sample`` ...: one kind of stage alone, on a run directory.

They differ in nothing but the kind and its words, so one function makes all of them.
"""

from __future__ import annotations

from pathlib import Path

import click

from dasd.cli.options import override_option, plugins_option, print_table, quiet_option


def _stage_command(kind: str, short: str, text: str) -> click.Command:
    @click.command(kind, help=_help(kind, short, text))
    @click.argument("run", type=click.Path(path_type=Path, file_okay=False), metavar="RUN_DIR")
    @click.option(
        "--recipe", metavar="RECIPE", help="A recipe instead of the run's own; may start a new run."
    )
    @plugins_option
    @override_option
    @quiet_option
    def command(
        run: Path, recipe: str | None, plugins: tuple[str, ...], overrides: tuple[str, ...], quiet: bool
    ) -> None:
        from dasd.errors import InputError
        from dasd.pipeline import Pipeline
        from dasd.progress import Console

        own = run / "recipe.yaml"
        if recipe is None and not own.is_file():
            raise InputError(f"{run} is not a run directory (no recipe.yaml); start one with --recipe RECIPE")
        made = Pipeline.from_recipe(recipe or own, plugins, overrides, Console(quiet))
        result = made.run(run, only=kind)
        rows = [
            (
                stage.name,
                ", ".join(f"{count} {frame}" for frame, count in stage.rows.items()),
                _words(stage.summary),
            )
            for stage in result.stages()
            if stage.kind == kind
        ]
        print_table(("stage", "rows", "figures"), rows)

    return command


def _help(kind: str, short: str, text: str) -> str:
    return (
        f"{short}\n\n{text} Stages that it reads must be done; a stage whose result stands is skipped.\n\n"
        f"\b\nExample:\n  dasd {kind} runs/demo"
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
    "Find duplicates and contamination.",
    "Exact and near duplicates, overlap with the evaluation set.",
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
