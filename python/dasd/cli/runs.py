"""``dasd runs``: which runs there are, what one did, how two differ, and whether one is what was written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dasd.base.printable import echo
from dasd.cli.options import json_option, print_json, print_table, quiet_option

if TYPE_CHECKING:
    from dasd.cli.summary import Figure
    from dasd.store import Run

_RUN = click.Path(path_type=Path, file_okay=False)


@click.group()
def runs() -> None:
    """List, show, compare and verify runs.

    \b
    Example:
      dasd runs list
      dasd runs diff runs/demo runs/demo-1
    """


@runs.command("list")
@click.argument("directory", type=_RUN, default=Path("runs"))
@json_option
def list_(directory: Path, as_json: bool) -> None:
    """List the runs in DIRECTORY (runs/ when absent).

    \b
    Example:
      dasd runs list
    """
    from dasd.errors import DasdError
    from dasd.store import Run, is_run

    rows = []
    for path in _directories(directory):
        row: dict[str, Any] = {"run": str(path)}
        try:
            if not is_run(path):
                continue
            run = Run.open(path)
            stages = run.stages()
            before, after = _accuracies(run)
            row |= {
                "name": run.settings.name,
                "started": run.record.created,
                "seed": run.settings.seed,
                "stages_done": len(stages),
                "last_stage": stages[-1].name if stages else None,
                "finished": bool(stages) and stages[-1].kind == "report",
                "accuracy_before": before,
                "accuracy_after": after,
                "error": None,
            }
        except DasdError as error:
            row["error"] = str(error)
        except OSError as error:
            row["error"] = f"it can't be read: {error.strerror} ({error.filename})"
        rows.append(row)
    if as_json:
        print_json(rows)
        return
    if not rows:
        echo(f"no runs in {directory}", err=True)
    print_table(
        ("run", "seed", "stages", "last stage", "before", "after"),
        [
            (r["run"], "-", "-", f"damaged: {r['error']}", "-", "-")
            if r["error"]
            else (
                r["run"],
                str(r["seed"]),
                str(r["stages_done"]),
                (r["last_stage"] or "-") + ("" if r["finished"] else " (unfinished)"),
                _number(r["accuracy_before"]),
                _number(r["accuracy_after"]),
            )
            for r in rows
        ],
        (1, 2, 4, 5),
    )


@runs.command()
@click.argument("run", type=_RUN)
@json_option
def show(run: Path, as_json: bool) -> None:
    """Show the stages of a run and its figures.

    \b
    Example:
      dasd runs show runs/demo
    """
    from dasd.cli.summary import figures, print_summary
    from dasd.store import Run

    opened = Run.open(run)
    if as_json:
        print_json(
            {
                "run": str(run),
                "record": opened.record.model_dump(mode="json", exclude={"checksum"}),
                "stages": [
                    {key: getattr(stage, key) for key in ("name", "kind", "seconds", "rows", "summary")}
                    for stage in opened.stages()
                ],
                "metrics": [asdict(figure) for figure in figures(opened)],
            }
        )
        return
    print_table(
        ("stage", "seconds", "rows"),
        [
            (s.name, f"{s.seconds:.1f}", ", ".join(f"{count} {frame}" for frame, count in s.rows.items()))
            for s in opened.stages()
        ],
        (1,),
    )
    echo()
    print_summary(opened)


@runs.command()
@click.argument("run", type=_RUN)
@quiet_option
@json_option
@click.pass_context
def verify(context: click.Context, run: Path, quiet: bool, as_json: bool) -> None:
    """Hold every file of a run against its checksum; exit code 1 if one isn't what was written.

    A start of the pipeline passes over files that look as they did when they were last held against theirs (size,
    time of change, inode); this reads all of them.

    \b
    Example:
      dasd runs verify runs/demo
    """
    from dasd.base.files import human_bytes
    from dasd.base.progress import Console
    from dasd.store import Run, look

    files, problems = Run.open(run).stored()
    size = sum(file.bytes for file in files)
    with Console(quiet).task(f"verify {human_bytes(size)}", len(files), "files") as task:
        for file, problem in look(files, None):
            if problem is not None:
                problems.append(f"{file.path} {problem}")
            task.advance()
    if as_json:
        print_json({"run": str(run), "files": len(files), "bytes": size, "problems": problems})
    else:
        for problem in problems:
            echo(problem)
        found = f"{len(problems)} problems" if problems else "all are what was written"
        echo(f"{len(files)} files, {human_bytes(size)}: {found}")
    if problems:
        context.exit(1)


@runs.command()
@click.argument("first", type=_RUN)
@click.argument("second", type=_RUN)
@json_option
def diff(first: Path, second: Path, as_json: bool) -> None:
    """Compare two runs: the recipe's keys that differ, and the figures of both.

    \b
    Example:
      dasd runs diff runs/demo runs/demo-1
    """
    from dasd.cli.summary import MEASURES, cell, figures
    from dasd.store import Run

    one, two = Run.open(first), Run.open(second)
    keys = list(changed_keys(one.settings.model_dump(mode="json"), two.settings.model_dump(mode="json")))
    pairs = _pairs(figures(one), figures(two))
    if as_json:
        print_json(
            {
                "recipe": [{"key": key, "first": a, "second": b} for key, a, b in keys],
                "metrics": [
                    {
                        "checkpoint": key[0],
                        "benchmark": key[1],
                        "metric": key[2],
                        "first": asdict(a) if a else None,
                        "second": asdict(b) if b else None,
                    }
                    for key, (a, b) in pairs.items()
                ],
            }
        )
        return
    if keys:
        print_table(("recipe key", str(first), str(second)), [(k, _short(a), _short(b)) for k, a, b in keys])
    else:
        echo("the recipes are the same")
    decimals = {metric: places for metric, _, places in MEASURES}
    shown = [(key, pair) for key, pair in pairs.items() if key[2] in decimals]
    if shown:
        echo()
        print_table(
            ("checkpoint", "benchmark", "metric", str(first), str(second)),
            [(*key, cell(a, decimals[key[2]]), cell(b, decimals[key[2]])) for key, (a, b) in shown],
            (3, 4),
        )


_ABSENT = "(absent)"


def changed_keys(first: object, second: object, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Key paths whose values differ, with both values; items of lists by ``name`` where all have one."""
    first, second = _named(first), _named(second)
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for key in dict.fromkeys([*first, *second]):
            below = f"{path}.{key}" if path else str(key)
            yield from changed_keys(first.get(key, _ABSENT), second.get(key, _ABSENT), below)
    elif first != second:
        yield path, first, second


def _named(value: object) -> object:
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return {item.get("name", index): item for index, item in enumerate(value)}
    return value


def _pairs(
    first: list[Figure], second: list[Figure]
) -> dict[tuple[str, str, str], tuple[Figure | None, Figure | None]]:
    ones = {(f.checkpoint, f.benchmark, f.metric): f for f in first}
    twos = {(f.checkpoint, f.benchmark, f.metric): f for f in second}
    return {key: (ones.get(key), twos.get(key)) for key in dict.fromkeys([*ones, *twos])}


def _accuracies(run: Run) -> tuple[float | None, float | None]:
    """Accuracy of the first and of the last evaluation, of the first benchmark."""
    from dasd.cli.summary import figures

    found = [f for f in figures(run) if f.metric == "accuracy"]
    found = [f for f in found if f.benchmark == found[0].benchmark]
    if not found:
        return None, None
    return found[0].value, found[-1].value if len(found) > 1 else None


def _directories(directory: Path) -> list[Path]:
    from dasd.errors import InputError

    try:
        return sorted(path for path in directory.iterdir() if path.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{directory} can't be read: {error.strerror}") from error


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 50 else text[:47] + "..."
