"""``dasd scores``: what a run's checkpoints score, and how two of them differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dasd.base.printable import echo
from dasd.cli.options import json_option, print_json, print_table, quiet_option, split_names

if TYPE_CHECKING:
    import polars as pl

    from dasd.results import Compared, Evaluation

_FLIPS = 20_000


def _numbers(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[int, ...]:
    """``1,4,16`` -> ``(1, 4, 16)``."""
    try:
        numbers = tuple(int(part) for part in (value or "").split(",") if part.strip())
    except ValueError:
        numbers = (0,)
    if any(number < 1 for number in numbers):
        raise click.BadParameter(
            f"wanted numbers from 1 with commas between them, e.g. 1,4,16; got {value!r}"
        )
    return numbers


@click.command()
@click.argument("runs", metavar="RUN...", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--checkpoint",
    "checkpoints",
    multiple=True,
    metavar="NAME",
    callback=split_names,
    help="Only this checkpoint: `before`, or a training's name. May be repeated.",
)
@click.option(
    "--benchmark",
    "benchmarks",
    multiple=True,
    metavar="NAME",
    callback=split_names,
    help="Only this benchmark. May be repeated.",
)
@click.option(
    "--k",
    "ks",
    metavar="K,K",
    callback=_numbers,
    help="The k of pass@k and majority@k, e.g. 1,4,16; when absent as many as every question has attempts.",
)
@click.option("--domain", "domains", is_flag=True, help="The scores of each domain as well.")
@click.option(
    "--bootstrap",
    "draws",
    type=click.IntRange(min=1),
    metavar="N",
    help="Intervals from N bootstrap draws of questions in place of Wilson's and t intervals.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of bootstrap, majority@k's subsets and sign flips.",
)
@click.option(
    "--compare",
    "pair",
    nargs=2,
    metavar="FIRST SECOND",
    help="Compare two checkpoints of RUN, question by question; of two RUNs, FIRST of the one with SECOND of the "
    "other.",
)
@click.option("--shared", is_flag=True, help="Compare the questions that both have, where they differ.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write scores.json, or of a comparison comparison.json, and attempts.parquet.",
)
@click.option(
    "--figure",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Draw the scores, or the comparison, into a .svg or .png file.",
)
@json_option
@quiet_option
def scores(
    runs: Sequence[Path],
    checkpoints: tuple[str, ...],
    benchmarks: tuple[str, ...],
    ks: tuple[int, ...],
    domains: bool,
    draws: int | None,
    seed: int,
    pair: tuple[str, str] | None,
    shared: bool,
    output: Path | None,
    figure: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Show the scores of RUN's checkpoints with their errors, or compare two of them.

    RUN is a run directory, or a Parquet or JSONL file of EVAL rows. Two RUNs are compared with each other.

    \b
    Example:
      dasd scores runs/demo
      dasd scores runs/demo --compare before mixed
      dasd scores runs/demo runs/other --compare mixed mixed --output results
    """
    if len(runs) > 2:
        raise click.UsageError(f"wanted one RUN, or two to compare; got {len(runs)}")
    if pair is not None or len(runs) == 2:
        for option, given in (
            ("--checkpoint", checkpoints),
            ("--k", ks),
            ("--domain", domains),
            ("--bootstrap", draws),
        ):
            if given:
                raise click.UsageError(f"{option} has no part in a comparison; --benchmark has")
        _comparison(runs, pair, benchmarks, shared, seed, output, figure, as_json)
        return
    if shared:
        raise click.UsageError("--shared is for comparisons: give --compare FIRST SECOND, or two RUNs")
    from dasd.base.progress import Console
    from dasd.results import choose, read, scores_document, write_scores
    from dasd.results import scores as scores_of

    evaluations = choose(read(runs[0]), checkpoints, benchmarks)
    table = scores_of(
        evaluations, ks=ks or None, domains=domains, draws=draws, seed=seed, console=Console(quiet=quiet)
    )
    document = scores_document(evaluations, table, draws, seed)
    if output is not None:
        write_scores(output, evaluations, document)
    if figure is not None:
        from dasd.results.score_figures import scores_figure

        scores_figure(table, figure)
    if as_json:
        print_json(document)
    else:
        _print_scores(table, bool(ks), domains)
    for name, metrics in table.group_by("benchmark", maintain_order=True).agg("metric").iter_rows():
        absent = [f"pass@{k}" for k in ks if f"pass@{k}" not in metrics]
        if absent:
            echo(f"note: benchmark {name} has too few attempts for {', '.join(absent)}", err=True)
    _tell(evaluations, (output, figure))


def _print_scores(table: pl.DataFrame, every_k: bool, domains: bool) -> None:
    """Benchmark by benchmark and score by score, so that checkpoints stand below each other."""
    if not every_k:
        # With k = 1 both are avg@k.
        table = table.filter(~table.get_column("metric").is_in(["pass@1", "majority@1"]))
    keys = ["benchmark", "domain", "metric"]
    rows = [
        row for part in table.partition_by(keys, maintain_order=True) for row in part.iter_rows(named=True)
    ]
    columns = ["benchmark", *(["domain"] if domains else []), "score", "checkpoint"]
    print_table(
        (*columns, "value", "error", "95 % interval", "questions", "attempts"),
        [
            (
                row["benchmark"],
                *([row["domain"]] if domains else []),
                row["metric"],
                row["checkpoint"],
                _number(row["value"], row["metric"]),
                _number(row["standard_error"], row["metric"]),
                _interval(row["low"], row["high"], row["metric"]),
                str(row["questions"]),
                str(row["attempts"]),
            )
            for row in rows
        ],
        range(len(columns), len(columns) + 5),
    )


def _comparison(
    runs: Sequence[Path],
    pair: tuple[str, str] | None,
    benchmarks: tuple[str, ...],
    shared: bool,
    seed: int,
    output: Path | None,
    figure: Path | None,
    as_json: bool,
) -> None:
    from dasd.results import compare, comparison_document, read, write_comparison

    sides = [read(run) for run in runs]
    sides = sides if len(sides) == 2 else sides * 2
    first, second = (_one(side, name) for side, name in zip(sides, pair or (None, None), strict=True))
    compared = compare(first, second, benchmarks=benchmarks, shared=shared, draws=_FLIPS, seed=seed)
    document = comparison_document(compared, _FLIPS, seed)
    if output is not None:
        write_comparison(output, compared, document)
    if figure is not None:
        from dasd.results.score_figures import comparison_figure

        comparison_figure(compared, figure)
    if as_json:
        print_json(document)
    else:
        _print_comparison(compared)
    for note in compared.notes:
        echo(f"note: {note}", err=True)
    _tell((first, second), (output, figure))


def _one(evaluations: Sequence[Evaluation], name: str | None) -> Evaluation:
    """The evaluation of that checkpoint; without a name the only one there is."""
    from dasd.errors import InputError
    from dasd.results import choose

    if name is None and len(evaluations) > 1:
        raise InputError(
            f"{evaluations[0].origin.source} has several evaluations: "
            f"{', '.join(evaluation.checkpoint for evaluation in evaluations)}; "
            "say which with --compare FIRST SECOND"
        )
    return evaluations[0] if name is None else choose(evaluations, [name])[0]


def _print_comparison(compared: Compared) -> None:
    several = compared.rows.n_unique("benchmark") > 1
    headings = ["benchmark", "score", *compared.names, "difference", "error", "95 % interval", "p"]
    headings += [*(["p (Holm)"] if several else []), "questions", "higher", "lower"]
    print_table(
        headings,
        [
            (
                row["benchmark"],
                row["value"],
                *(_number(row[key], row["value"]) for key in ("first", "second")),
                _number(row["difference"], row["value"], "+"),
                _number(row["standard_error"], row["value"]),
                _interval(row["low"], row["high"], row["value"], "+"),
                f"{row['p_value']:.2g}" + ("" if row["exact"] else " *"),
                *([f"{row['p_adjusted']:.2g}"] if several else []),
                str(row["questions"]),
                str(row["higher"]),
                str(row["lower"]),
            )
            for row in compared.rows.iter_rows(named=True)
        ],
        range(2, len(headings)),
    )
    left_out = compared.rows.filter(compared.rows.get_column("left_out") > 0)
    for name, count in left_out.select("benchmark", "left_out").unique(maintain_order=True).iter_rows():
        echo(f"note: benchmark {name}: {count} questions left out, only one has them so", err=True)
    if not compared.rows.get_column("exact").all():
        echo(f"* from {_FLIPS:,} random sign flips; without * all were tried", err=True)


def _tell(evaluations: Iterable[Evaluation], written: Iterable[Path | None]) -> None:
    """What has no part in the figures, and what was written, on stderr."""
    for evaluation in evaluations:
        lacking = evaluation.attempts.filter(evaluation.attempts.get_column("correct").is_null())
        if lacking.height:
            echo(
                f"note: {evaluation.checkpoint}: {lacking.n_unique('question_id')} questions have no answer or no "
                "verifier; only length and truncation count them",
                err=True,
            )
        for item in evaluation.ungraded:
            echo(
                f"note: {evaluation.checkpoint}: grading {item.answers} answers {item.reason}; they count as wrong",
                err=True,
            )
    for path in written:
        if path is not None:
            echo(f"wrote {path}", err=True)


def _number(value: float | None, name: str, sign: str = "") -> str:
    decimals = 1 if name in ("length_tokens", "tokens") else 3
    return "-" if value is None else f"{value:{sign}.{decimals}f}"


def _interval(low: float | None, high: float | None, name: str, sign: str = "") -> str:
    return "-" if low is None else f"{_number(low, name, sign)} to {_number(high, name, sign)}"
