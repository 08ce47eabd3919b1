"""The demo over several seeds: every figure that the README quotes comes from this command.

Each seed is a whole run (own questions, own samples, own trainings); the spread is over the seeds.

Example:
    python -m benchmarks.demo_seeds --seeds 0 1 2 --directory runs/seeds
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import polars as pl

import dasd

METRICS = {
    "accuracy": "accuracy",
    "kl_nats_per_response": "KL (nats a response)",
    "length_tokens": "length (tokens)",
    "cut_off_rate": "cut-off rate",
}


def main() -> None:
    """Run the seeds and print a Markdown table: mean over the seeds and its standard error."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--directory", type=Path, default=Path("runs/seeds"))
    parser.add_argument("-o", "--override", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    frames = []
    for seed in arguments.seeds:
        begin = time.perf_counter()
        overrides = [f"seed={seed}", *arguments.override]
        run = dasd.Pipeline.from_recipe(arguments.recipe, overrides=overrides).run(
            arguments.directory / f"seed{seed}"
        )
        print(f"seed {seed}: {time.perf_counter() - begin:.0f} s")
        frames.append(
            run.frame("metrics").filter(pl.col("group") == "all").with_columns(seed=pl.lit(seed)).collect()
        )
    metrics = pl.concat(frames)
    table = metrics.group_by("checkpoint", "metric", maintain_order=True).agg(
        mean=pl.col("value").mean(), spread=pl.col("value").std() / math.sqrt(len(arguments.seeds))
    )
    print("\n| checkpoint | " + " | ".join(METRICS.values()) + " |")
    print("|---|" + "---|" * len(METRICS))
    for checkpoint in table.get_column("checkpoint").unique(maintain_order=True):
        cells = []
        for metric in METRICS:
            row = table.filter((pl.col("checkpoint") == checkpoint) & (pl.col("metric") == metric))
            cells.append("" if row.is_empty() else f"{row['mean'][0]:.3f} ± {row['spread'][0] or 0.0:.3f}")
        print(f"| {checkpoint} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
