"""The evidence suite: `python -m benchmarks.evidence run|table|page|rates`. See docs/evidence.md.

Examples:
    python -m benchmarks.evidence run --scale quick                # minutes; direction only
    python -m benchmarks.evidence run --directory runs/evidence    # hours; goes on where it was stopped
    python -m benchmarks.evidence run --scale large --processes 8  # the central arms with 100M parameters on a GPU
    python -m benchmarks.evidence run --arm divergence --seed 2    # one arm of one seed, and what it needs
    python -m benchmarks.evidence rates --scale drift-tune         # learning rates by pilot seeds
    python -m benchmarks.evidence table                            # runs/evidence/results.parquet and .json
    python -m benchmarks.evidence page                             # the results part of docs/evidence.md
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.evidence.arms import ARMS
from benchmarks.evidence.run import jobs, run_suite
from benchmarks.evidence.scale import SCALES
from benchmarks.evidence.worlds import WORLDS
from dasd.base.progress import Console
from dasd.errors import DasdError, InputError


def main() -> int:
    """Parse the command line and do what it says; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evidence",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run the cells that aren't done")
    run.add_argument("--world", action="append", default=[], choices=sorted(WORLDS))
    run.add_argument("--arm", action="append", default=[], choices=[arm.name for arm in ARMS])
    run.add_argument("--seed", action="append", default=[], type=int)
    run.add_argument("--processes", type=int, default=2)
    run.add_argument("--keep", action="store_true", help="keep the run directory of every cell")
    table = commands.add_parser("table", help="gather the results of all finished cells into one table")
    page = commands.add_parser("page", help="write the results part of docs/evidence.md and its figures")
    rates = commands.add_parser("rates", help="which learning rates a scale that tries several found best")
    for command in (run, table, page, rates):
        command.add_argument("--scale", choices=list(SCALES), default="full", help="default: full")
        command.add_argument(
            "--directory", type=Path, help="default: runs/evidence, for others runs/evidence-SCALE"
        )
    page.add_argument("--docs", type=Path, help="default: docs; wanted with --scale quick")
    options = parser.parse_args()
    scale = SCALES[options.scale]
    directory = options.directory or Path(
        "runs/evidence" if scale.name == "full" else f"runs/evidence-{scale.name}"
    )
    directory = directory.absolute()
    console = Console()
    try:
        if options.command == "run":
            todo = jobs(directory, scale, options.world, options.arm, options.seed)
            run_suite(todo, scale, options.processes, console, keep=options.keep)
        elif options.command == "table":
            from benchmarks.evidence.results import write_table

            console.info(write_table(directory))
        elif options.command == "rates":
            from benchmarks.evidence.rates import rate_lines
            from benchmarks.evidence.results import gather

            if not scale.tried:
                raise InputError(f"rates --scale {scale.name}: it tries no rates; wanted drift-tune")
            for line in rate_lines(gather(directory).table, scale.tried):
                console.info(line)
        else:
            from benchmarks.evidence.page import write_page

            if options.docs is None and scale.name == "quick":
                raise InputError(
                    "page --scale quick takes the place of the full results: name a folder by --docs"
                )
            console.info(write_page(directory, options.docs or Path("docs"), scale))
    except KeyboardInterrupt:
        console.warn("stopped; the same command goes on")
        return 130
    except DasdError as error:
        console.warn(str(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
