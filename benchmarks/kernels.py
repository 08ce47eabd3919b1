"""Every kernel beside the libraries that one would otherwise take, in turn, in one process.

A seeded corpus shaped like that of the method's report is built (see benchmarks/corpus.py), results are checked
against what is planted and against the peers', and two Markdown tables are printed: ratios theirs / ours with
minimum, median and maximum over the rounds, peak memory, the target and whether it is met; and single figures.
Peers that are not installed are named and left out. docs/performance.md says how to read it.

Exit code 0; 1 if results disagree. A missed target does not change it.

Example:
    python -m benchmarks.kernels --json kernels.json
    python -m benchmarks.kernels --quick --only near_duplicates pack
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from pathlib import Path

from benchmarks.bench import Bench, Sizes
from benchmarks.cases import CASES
from benchmarks.machine import describe
from benchmarks.table import markdown, write_json

QUICK = Sizes(
    tokens=400_000,
    mean_length=2_000.0,
    sampled_tokens=40_000,
    one_core_tokens=200_000,
    packed=5_000,
    text_bytes=1 << 20,
    hostile_rows=20_000,
    rounds=2,
)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options; each size has one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="a smoke test: tiny sizes, seconds instead of minutes"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=CASES,
        default=list(CASES),
        metavar="CASE",
        help=f"some of: {', '.join(CASES)}",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured to FILE")
    for size in dataclasses.fields(Sizes):
        kind = float if size.name == "mean_length" else int
        text = f"default {size.default:,}"
        parser.add_argument(f"--{size.name.replace('_', '-')}", type=kind, metavar="N", help=text)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the cases, print the tables; 1 if results disagree."""
    options = parse(arguments)
    base = QUICK if options.quick else Sizes()
    given = {
        name: value for name in dataclasses.asdict(base) if (value := getattr(options, name)) is not None
    }
    sizes = dataclasses.replace(base, **given)
    bench = Bench(sizes)
    begin = time.perf_counter()
    for name in CASES:
        if name in options.only:
            print(f"{time.perf_counter() - begin:5.0f} s  {name}", file=sys.stderr)
            CASES[name](bench)
    elapsed = time.perf_counter() - begin
    settings = dataclasses.asdict(sizes) | {"quick": options.quick, "only": options.only, "seconds": elapsed}
    machine = describe()
    print(f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}")
    versions = machine["versions"]
    if isinstance(versions, dict):
        print(", ".join(f"{name} {found}" for name, found in versions.items() if found))
    shape = ", ".join(f"{name} {value:,}" for name, value in dataclasses.asdict(sizes).items())
    print(f"{shape}; {elapsed:.0f} s\n")
    print(markdown(bench.comparisons, bench.figures))
    if bench.left_out:
        print(f"\nLeft out, as not installed: {', '.join(bench.left_out)}")
    if options.json:
        write_json(options.json, settings, bench.comparisons, bench.figures, bench.left_out)
    wrong = [figure for figure in bench.figures if figure.is_result and not figure.met]
    for figure in wrong:
        print(
            f"results disagree: {figure.kernel}, {figure.name}: {figure.values[0]:g} {figure.unit}",
            file=sys.stderr,
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
