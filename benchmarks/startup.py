"""How long `dasd --help` takes, against the start of Python with click alone.

Example:
    python -m benchmarks.startup --runs 15
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time


def seconds(command: list[str]) -> float:
    """Wall time of one run of ``command``."""
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main() -> None:
    """Print both medians and the ratio of each pair of runs: minimum, median, maximum."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    click = [sys.executable, "-c", "import click"]
    help_ = [sys.executable, "-m", "dasd", "--help"]
    seconds(click), seconds(help_)  # warm the file cache
    pairs = [(seconds(help_), seconds(click)) for _ in range(runs)]
    ratios = sorted(ours / base for ours, base in pairs)
    print(f"python -c 'import click'  median {statistics.median(base for _, base in pairs):.3f} s")
    print(f"dasd --help               median {statistics.median(ours for ours, _ in pairs):.3f} s")
    print(
        f"ratio                     min {ratios[0]:.2f}  median {statistics.median(ratios):.2f}  max {ratios[-1]:.2f}"
    )


if __name__ == "__main__":
    main()
