"""Stages filter, dedup and select beside polars, which scans and rewrites the Parquet files that they read.

Builds a run directory of synthetic responses, then lets the two take turns: a stage runs as it does in a
pipeline, on finished stages, to its manifest; polars scans the same files, all columns, and sinks them with the
store's compression. Printed is the ratio of their times (the stage's / polars') over the rounds.

Example:
    python -m benchmarks.stages --questions 2000 --rounds 5 --json stages.json
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import polars as pl

from benchmarks.curation_run import MEASURED, Size, pipeline_of, prepare
from benchmarks.machine import describe
from dasd.pipeline.runner import Pipeline
from dasd.store import Run

READS = {
    "filter-low": (("sample-low", "samples"),),
    "dedup-low": (("sample-low", "samples"),),
    "select-low": (("sample-low", "samples"), ("score-low", "scores")),
}
"""The frames of token data that each stage reads."""


def add_size_arguments(parser: argparse.ArgumentParser, questions: int) -> None:
    """Options for the shape of the corpus."""
    parser.add_argument("--questions", type=int, default=questions)
    parser.add_argument("--candidates", type=int, default=4, help="responses a question")
    parser.add_argument("--mean-tokens", type=int, default=2000, help="mean tokens of a response")
    parser.add_argument("--chunk", type=int, default=256, help="responses a Parquet file")
    parser.add_argument("--seed", type=int, default=0)


def size_of(arguments: argparse.Namespace) -> Size:
    """The corpus that the options describe."""
    return Size(
        arguments.questions, arguments.candidates, arguments.mean_tokens, arguments.chunk, arguments.seed
    )


def run_stage(pipeline: Pipeline, directory: Path, stage: str) -> tuple[float, float]:
    """Run one stage anew; seconds of the stage, and of the whole call, which verifies the inputs' checksums."""
    for found in (directory / "run" / "stages").glob(f"*-{stage}"):
        shutil.rmtree(found)
    begin = time.perf_counter()
    run = pipeline.run(directory / "run", only=stage)
    whole = time.perf_counter() - begin
    return next(manifest.seconds for manifest in run.stages() if manifest.name == stage), whole


def rewrite(directory: Path, stage: str, output: Path) -> float:
    """Seconds that polars takes to scan and rewrite what a stage reads."""
    run = Run.open(directory / "run")
    begin = time.perf_counter()
    for source, frame in READS[stage]:
        files = sorted(run.stage_directory(source).glob(f"part-{frame}-*.parquet"))
        pl.scan_parquet(files, glob=False).sink_parquet(output / f"{frame}.parquet", compression="zstd")
    return time.perf_counter() - begin


def spread(values: list[float]) -> dict[str, float]:
    """Minimum, median and maximum."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def main() -> None:
    """Build, take turns, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_size_arguments(parser, 2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stages", default=",".join(MEASURED), help="which to time, separated by commas")
    parser.add_argument("--two-tokenizers", action="store_true", help="give the student another tokenizer")
    parser.add_argument("--directory", type=Path, help="build here and keep it; else a temporary directory")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    size = size_of(arguments)
    place = arguments.directory or Path(tempfile.mkdtemp(prefix="dasd-stages-"))
    output = place / "rewritten"
    try:
        prepare(place, size, two_tokenizers=arguments.two_tokenizers)
        pipeline = pipeline_of(place, size, two_tokenizers=arguments.two_tokenizers)
        output.mkdir(exist_ok=True)
        samples = Run.open(place / "run").frame("samples", "sample-low")
        count = samples.select(pl.len(), tokens=pl.col("token_ids").list.len().sum()).collect()
        responses, tokens = count.row(0)
        print(f"{responses:,} responses, {tokens:,} tokens, {arguments.rounds} rounds")
        print(f"{'stage / polars scan and rewrite':34s}    min median    max   stage s  polars s")
        figures: dict[str, object] = {"responses": responses, "tokens": tokens, "rounds": arguments.rounds}
        for stage in arguments.stages.split(","):
            rewrite(place, stage, output)  # both once outside the clock
            run_stage(pipeline, place, stage)
            seconds, whole, theirs = [], [], []
            for _ in range(arguments.rounds):
                theirs.append(rewrite(place, stage, output))
                own, call = run_stage(pipeline, place, stage)
                seconds.append(own)
                whole.append(call)
            ratio = spread([a / b for a, b in zip(seconds, theirs, strict=True)])
            with_checksums = spread([a / b for a, b in zip(whole, theirs, strict=True)])
            figures[stage] = {
                "ratio": ratio,
                "ratio_with_checksums_of_inputs": with_checksums,
                "stage_seconds": seconds,
                "polars_seconds": theirs,
            }
            print(
                f"{stage:34s} {ratio['min']:6.2f} {ratio['median']:6.2f} {ratio['max']:6.2f}"
                f"  {statistics.median(seconds):8.2f}  {statistics.median(theirs):8.2f}"
            )
        if arguments.json:
            arguments.json.write_text(json.dumps({"machine": describe(), **figures}, indent=2) + "\n")
    finally:
        shutil.rmtree(output, ignore_errors=True)
        if arguments.directory is None:
            shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
