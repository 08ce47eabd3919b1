"""``dasd plan``: what a recipe will do and cost, and what is wrong with it, before anything is spent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dasd.base.printable import echo
from dasd.cli.options import (
    F,
    json_option,
    override_option,
    plugins_option,
    print_json,
    print_list,
    print_table,
    run_option,
)

if TYPE_CHECKING:
    from dasd.pipeline.plan import Amount, Finding, RunPlan, StagePlan

_POSITIVE = click.FloatRange(min=0, min_open=True)


def _number(name: str, text: str, metavar: str = "N", field: str | None = None) -> Callable[[F], F]:
    """An option that says ``field`` of ``Given``; None: the one that is called as the option is."""
    return click.option(name, *([field] if field else []), type=_POSITIVE, metavar=metavar, help=text)


@click.command()
@click.argument("recipe", default="demo")
@plugins_option
@run_option(
    "Run directory; runs/ and the recipe's name when absent. Finished stages of it are reused and measured."
)
@override_option
@_number("--response-tokens", "Mean length of the teacher's responses; as measured when absent.")
@_number("--answer-tokens", "Mean length of the student's answers in evaluation.")
@_number("--rate", "Tokens a second that the teacher generates, all devices together.", "TOKENS/S")
@_number("--student-rate", "The same of the student.", "TOKENS/S")
@_number("--score-rate", "Tokens a second that the student scores.", "TOKENS/S")
@_number("--train-rate", "Tokens a second in training.", "TOKENS/S")
@_number(
    "--student-params",
    "Parameters of a student that isn't on this machine, e.g. 4e9.",
    field="student_parameters",
)
@json_option
@click.pass_context
def plan(
    context: click.Context,
    /,
    recipe: str,
    plugins: tuple[str, ...],
    directory: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
    **given: float | None,
) -> None:
    """Show what a recipe will do and cost, and all that is wrong with it.

    RECIPE is the name of a bundled recipe or a YAML file. Nothing is started or changed, and nothing
    but questions of a benchmark is fetched. Ends with
    exit code 2 if there are problems; warnings and notes are fine.

    \b
    Example:
      dasd plan demo
      dasd plan dasd-4b --response-tokens 14000
      dasd plan my.yaml --run runs/trial          rates as the trial measured them
    """
    from dasd.pipeline.plan import Given, plan_recipe

    made = plan_recipe(recipe, overrides, plugins, directory, Given(**given))
    if as_json:
        print_json(plan_json(made))
    else:
        _show(made)
    if made.problems:
        keys = ", ".join(dict.fromkeys(finding.key or "recipe" for finding in made.problems))
        count = "one problem" if len(made.problems) == 1 else f"{len(made.problems)} problems"
        echo(f"error: {count}: {keys}", err=True)
        context.exit(2)


def plan_json(made: RunPlan) -> dict[str, Any]:
    """The plan as ``--json`` prints it."""
    from dasd.pipeline.plan.disk_and_memory import disk_need

    stages = []
    for stage in made.stages:
        work = asdict(stage.work)
        stages.append(
            {
                "number": stage.number,
                "name": stage.name,
                "kind": stage.kind,
                "state": stage.state,
                **{key: work[key] for key in ("rows", "generates", "scores", "trains")},
                **asdict(stage.cost),
            }
        )
    expected, most = disk_need(made.stages)
    return {
        "recipe": made.name,
        "run": made.directory,
        "questions": asdict(made.questions),
        "evaluation_questions": asdict(made.evaluation_questions),
        "stages": stages,
        "disk_bytes": expected,
        "disk_bytes_most": most,
        "free_disk_bytes": made.free_disk_bytes,
        "models": [asdict(model) for model in made.models],
        "memory": [{**asdict(need), "total": need.total} for need in made.memory],
        "assumptions": list(made.assumptions),
        "findings": [asdict(finding) for finding in made.findings],
        "problems": len(made.problems),
    }


def _show(made: RunPlan) -> None:
    from dasd.base.files import human_bytes
    from dasd.pipeline.plan.disk_and_memory import disk_need

    if made.stages:
        head = (
            "",
            "stage",
            "state",
            "rows",
            "generated",
            "at most",
            "scored",
            "trained",
            "steps",
            "time",
            "disk",
        )
        print_table(head, [_row(stage) for stage in made.stages], (0, 3, 4, 5, 6, 7, 8, 9, 10))
        echo("\n" + _totals(made))
        expected, most = disk_need(made.stages)
        sizes = [] if expected is None else [human_bytes(expected)]
        sizes += [] if most is None or most == expected else [f"at most {human_bytes(most)}"]
        echo(f"disk: {', '.join(sizes) or '-'} to be written, {human_bytes(made.free_disk_bytes)} free")
    _show_benchmarks(made)
    if made.memory:
        echo()
        print_table(
            ("memory of all devices", "at least", "of which"),
            [
                (
                    need.what,
                    "-" if need.total is None else human_bytes(need.total),
                    need.missing or ", ".join(f"{what} {human_bytes(n)}" for what, n in need.parts.items()),
                )
                for need in made.memory
            ],
            (1,),
        )
    print_list("taken for granted", made.assumptions)
    missing = dict.fromkeys(text for stage in made.stages for text in stage.cost.missing)
    print_list("without a time", tuple(missing))
    for level, title in (("note", "notes"), ("warning", "warnings"), ("problem", "problems")):
        print_list(title, tuple(_line(finding) for finding in made.findings if finding.level == level))
    if made.stages:
        echo(f"\nrun: {made.directory}")


def _show_benchmarks(made: RunPlan) -> None:
    """What one evaluation asks of each benchmark, where there are several."""
    ahead = next((s.work.generates for s in made.stages if s.kind == "evaluate" and s.state != "done"), ())
    if len(ahead) > 1:
        echo()
        print_table(
            ("benchmark", "answers", "tokens", "at most"),
            [
                (
                    part.benchmark,
                    _amount(part.requests),
                    _sum([part.tokens], bound=False),
                    _sum([part.tokens], bound=True),
                )
                for part in ahead
            ],
            (1, 2, 3),
        )


def _row(stage: StagePlan) -> tuple[str, ...]:
    generated = [part.tokens for part in stage.work.generates]
    scored = [part.tokens for part in stage.work.scores]
    trains = stage.work.trains
    return (
        str(stage.number),
        stage.name,
        stage.state or "-",
        _amount(stage.work.rows),
        _sum(generated, bound=False),
        _sum(generated, bound=True),
        _sum(scored, bound=False),
        "" if trains is None else _amount(trains.tokens),
        "" if trains is None else _amount(trains.steps),
        _time(stage.cost.seconds, ""),
        _disk(stage),
    )


def _disk(stage: StagePlan) -> str:
    from dasd.base.files import human_bytes

    expected, most = stage.cost.disk_bytes, stage.cost.disk_bytes_most
    if expected is not None:
        return human_bytes(expected)
    return "-" if most is None else f"<= {human_bytes(most)}"


def _amount(amount: Amount) -> str:
    """The number, with ``~`` before an expectation."""
    if amount.expected is None:
        return "-" if amount.most is None else f"<= {_short(amount.most)}"
    return ("" if amount.exact else "~") + _short(amount.expected)


def _sum(amounts: list[Amount], bound: bool) -> str:
    if not amounts:
        return ""
    from dasd.pipeline.plan.amounts import total
    from dasd.pipeline.plan.records import Amount

    whole = reduce(total, amounts)
    return _amount(Amount(whole.most, whole.most, exact=True) if bound else whole)


def _short(count: int) -> str:
    """Up to 99,999 as it is, then with k, M, G, T."""
    if count < 100_000:
        return f"{count:,}"
    size = float(count)
    for unit in ("", "k", "M", "G"):
        if size < 1000:
            return f"{size:.3g}{unit}"
        size /= 1000
    return f"{size:,.3g}T"


def _time(seconds: float | None, none: str) -> str:
    """Hours, or shorter units below a tenth of one."""
    from dasd.base.progress import human_seconds

    if not seconds:
        return "-" if seconds is None else none
    return f"{seconds / 3600:,.1f} h" if seconds >= 360 else human_seconds(seconds)


def _totals(made: RunPlan) -> str:
    ahead = [stage for stage in made.stages if stage.state != "done"]
    if not ahead:
        return "every stage is done; nothing is left to do"
    unknown = sum(stage.cost.seconds is None for stage in ahead)
    reused = len(made.stages) - len(ahead)
    parts = [
        "one stage to run"
        if len(ahead) == 1
        else f"{len(ahead)} stages to run" + (f", {reused} reused" if reused else "")
    ]
    known = sum(stage.cost.seconds or 0.0 for stage in ahead)
    if known or not unknown:
        parts.append(f"about {_time(known, 'no time')}")
    if unknown:
        parts.append(f"time of {unknown} stages unknown")
    return "; ".join(parts)


def _line(finding: Finding) -> str:
    advice = f". To do: {finding.advice}" if finding.advice else ""
    return (f"{finding.key}: " if finding.key else "") + finding.text.rstrip(".") + advice
