"""``dasd inspect``: the samples of a run, and one of them sentence by sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dasd.base.printable import echo, silence
from dasd.cli.options import print_json

if TYPE_CHECKING:
    import polars as pl
    from rich.console import Console

    from dasd.store import Run


@click.command("inspect")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("sample", required=False)
@click.option("--stage", metavar="NAME", help="Only samples of this stage: `sample-low`, or all of `low`.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Samples to list.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Also write SAMPLE as a page.")
def inspect(
    run: Path, sample: str | None, stage: str | None, limit: int, as_json: bool, html: Path | None
) -> None:
    """List the samples of RUN, or show SAMPLE sentence by sentence.

    SAMPLE is a sample's id or the start of it. Sentences are coloured by kind, or marked with a letter where
    there is no colour: T Teacher, S Student, C common; once a distilled model has scored them also = shared
    and B boosted.

    \b
    Example:
      dasd inspect runs/demo --stage low --limit 10
      dasd inspect runs/demo 3fa9 --html response.html
    """
    from dasd.store import Run

    if html is not None and sample is None:
        raise click.UsageError("--html needs a SAMPLE; `dasd inspect RUN` lists their ids")
    opened = Run.open(run)
    try:
        if sample is None:
            _list(opened, stage, limit, as_json)
        else:
            _show(opened, sample, stage, as_json, html)
    except BrokenPipeError:
        silence(sys.stdout)  # the reader has seen enough (`| head`)


def _list(run: Run, stage: str | None, limit: int, as_json: bool) -> None:
    from dasd.results.report.inspect_text import listing_lines, listing_table
    from dasd.results.report.inspection import count_samples, listing

    total = count_samples(run, stage)
    rows = listing(run, stage, limit, _grader(run))
    if as_json:
        print_json([row.model_dump() for row in rows])
    else:
        console = _console()
        if console.is_terminal:
            console.print(listing_table(rows))
        else:
            for line in listing_lines(rows):
                echo(line)
    if total > len(rows):
        echo(f"{len(rows)} of {total} samples; --limit shows more, --stage chooses", err=True)


def _show(run: Run, prefix: str, stage: str | None, as_json: bool, html: Path | None) -> None:
    from dasd.results.report.inspect_text import plain_lines, show_coloured
    from dasd.results.report.inspection import find_sample, sample

    found = sample(run, find_sample(run, prefix, stage), _grader(run))
    if html is not None:
        from dasd.base.files import write_whole
        from dasd.results.report.inspect_page import render_sample

        write_whole(html, render_sample(found, run.record.name).encode())
        echo(f"wrote {html}", err=True)
    if as_json:
        echo(found.model_dump_json(indent=2))
        return
    console = _console()
    if console.is_terminal:
        show_coloured(console, found)
    else:
        for line in plain_lines(found):
            echo(line)


def _grader(run: Run) -> Callable[[pl.DataFrame], pl.Series]:
    """Grades rows by the verifiers of their questions; nobody knows where a verifier can't be had."""
    import polars as pl

    from dasd.errors import DasdError
    from dasd.pipeline.work.grading import Grader, answers_by_question
    from dasd.plugins.host import PluginHost

    answers = answers_by_question(run.frame("questions"))

    def grade(rows: pl.DataFrame) -> pl.Series:
        unknown = pl.Series("correct", [None] * rows.height, dtype=pl.Boolean)
        if not answers:
            return unknown
        try:
            grader = Grader(PluginHost.load(run.settings.plugins, warn=lambda _: None).registry)
            return grader.correct_rows(rows.select("question_id", "text").iter_rows(), answers)
        except (DasdError, ImportError) as error:
            echo(f"warning: answers are not graded: {error}", err=True)
            return unknown

    return grade


def _console() -> Console:
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False)
