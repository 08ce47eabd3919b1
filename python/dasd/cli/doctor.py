"""``dasd doctor``: what this environment has, what is broken in it, and what mends it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from dasd.base.printable import echo
from dasd.cli.options import json_option, print_json, print_list, print_table


@click.command()
@click.option(
    "--python",
    "python",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Report on another environment: its Python, or its directory; dasd has to be installed there.",
)
@json_option
@click.pass_context
def doctor(context: click.Context, python: Path | None, as_json: bool) -> None:
    """Report versions, devices, plugins and conflicts of this environment.

    Ends with exit code 0 if all is well (optional packages may be missing), 1 if something is broken or in
    conflict, 2 for wrong use.

    \b
    Example:
      dasd doctor
      dasd doctor --python envs/vllm/bin/python --json
    """
    from dataclasses import asdict

    from dasd.cli.environment import examine, examine_elsewhere

    # Through JSON's types either way, so that both environments are shown alike.
    report: Mapping[str, Any] = asdict(examine()) if python is None else examine_elsewhere(python)
    if as_json:
        print_json(report)
    else:
        _show(report)
    if report["problems"]:
        context.exit(1)


def _show(report: Mapping[str, Any]) -> None:
    from dasd.base.files import human_bytes

    memory, available = report["memory_bytes"], report["memory_available_bytes"]
    torch = report["torch"]
    print_table(
        ("here", "found"),
        [
            ("dasd", f"{report['dasd']}, Rust core {report['core']}"),
            ("python", f"{report['python']} ({report['executable']})"),
            ("system", report["platform"]),
            ("cores", str(report["cores"])),
            (
                "memory",
                human_bytes(memory) + ("" if available is None else f", {human_bytes(available)} available"),
            ),
            ("disk", f"{human_bytes(report['disk_free_bytes'])} free in {report['directory']}"),
            ("torch", _torch(torch)),
            *(("gpu", _gpu(gpu)) for gpu in report["gpus"]),
            *([] if report["gpus"] else [("gpu", "none found")]),
        ],
    )
    echo()
    print_table(
        ("package", "version", "for", "to install"),
        [
            (
                p["name"],
                (p["version"] or "-") + (f" ({p['distribution']})" if p["version"] and _renamed(p) else ""),
                p["use"],
                "" if p["version"] else p["install"],
            )
            for p in report["packages"]
        ],
    )
    if report["plugins"]:
        echo()
        print_table(
            ("plugin", "distribution", "version", "state"),
            [
                (p["name"], p["distribution"], p["version"], "broken" if p["error"] else "loads")
                for p in report["plugins"]
            ],
        )
    echo()
    print_table(("program", "where"), [(name, where or "-") for name, where in report["tools"].items()])
    echo()
    print_table(("variable", "value"), list(report["environment"].items()))
    print_list("notes", report["notes"])
    problems = report["problems"]
    print_list("problems", [f"{problem['what']}\n    to mend: {problem['fix']}" for problem in problems])
    echo("\n" + ("all is well" if not problems else f"{len(problems)} to mend"))


def _renamed(package: Mapping[str, Any]) -> bool:
    return bool(package["distribution"].replace("-", "_") != package["name"])


def _torch(torch: Mapping[str, Any] | None) -> str:
    if torch is None:
        return "not installed"
    if torch["error"]:
        return f"{torch['version']}, broken"
    built = f"built for CUDA {torch['cuda']}" if torch["cuda"] else "built for the CPU"
    return f"{torch['version']}, {built}, {torch['threads']} threads"


def _gpu(gpu: Mapping[str, Any]) -> str:
    from dasd.base.files import human_bytes

    driver = f", driver {gpu['driver']}" if gpu["driver"] else ""
    return f"{gpu['name']}, {human_bytes(gpu['memory_bytes'])}{driver} (by {gpu['source']})"
