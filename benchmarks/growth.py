"""How the time and memory of the curation stages grow with the corpus: N, 2N, 4N and 8N responses.

Each stage runs in a process of its own on each size, on files that are in the cache of the file system where
they fit. Time is that of the stage, memory the peak over what the process held before the stage began. Printed
are both at each size, the exponent of a log-log fit of time over tokens, and the growth of memory in bytes a
response, which the stages may hold for identities and sketches.

Example:
    python -m benchmarks.growth --questions 1000 --json growth.json
    python -m benchmarks.growth --beyond-memory --mean-tokens 8000 --directory corpus
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.curation_run import MEASURED, Size, pipeline_of, prepare
from benchmarks.machine import describe, peak_bytes, restart_peak
from benchmarks.stages import add_size_arguments, run_stage, size_of
from dasd.store import Run

FACTORS = (1, 2, 4, 8)
TOKEN_BYTES = 12
"""token_ids, token_ends and logprobs of one token, uncompressed."""
DISK_BYTES = 20
"""Room that a token takes in the files of samples and scores, with some to spare."""


def one(directory: Path, size: Size, stage: str) -> None:
    """Run one stage and print what it took, for the parent process."""
    from dasd.models.tokens.chat import ChatTokenizer
    from dasd.recipe.model_settings import ModelSettings

    pipeline = pipeline_of(directory, size)
    ChatTokenizer.load(
        ModelSettings(model=str(directory / "teacher"))
    )  # libraries and a tokenizer are held already
    held, before = restart_peak(), resource.getrusage(resource.RUSAGE_SELF)
    seconds, _ = run_stage(pipeline, directory, stage)
    peak, after = peak_bytes(), resource.getrusage(resource.RUSAGE_SELF)
    found = {
        "seconds": seconds,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_bytes": peak - held,
        "process_bytes": peak,
    }
    print(json.dumps(found))


def in_process(directory: Path, size: Size, task: str) -> dict[str, float]:
    """Do ``task`` in a fresh process; what it printed."""
    values = (size.questions, size.candidates, size.mean_tokens, size.chunk, size.seed)
    names = ("--questions", "--candidates", "--mean-tokens", "--chunk", "--seed")
    options = [text for name, value in zip(names, values, strict=True) for text in (name, str(value))]
    command = [sys.executable, "-m", "benchmarks.growth", "--task", task, "--directory", str(directory)]
    done = subprocess.run([*command, *options], check=True, stdout=subprocess.PIPE, text=True)
    lines = done.stdout.splitlines()
    return dict(json.loads(lines[-1])) if lines else {}


def measure(places: dict[Path, Size], rounds: int) -> list[dict[str, Any]]:
    """Build every size, then run every stage on each in turn: least times and median peaks of the rounds."""
    found: list[dict[str, Any]] = []
    for place, size in places.items():
        in_process(place, size, "build")
        rows = Run.open(place / "run").frame("samples", "sample-low")
        responses, tokens = rows.select(pl.len(), pl.col("token_ids").list.len().sum()).collect().row(0)
        found.append({"responses": responses, "tokens": tokens})
        print(f"{responses:,} responses, {tokens * TOKEN_BYTES / 2**30:.2f} GiB of token data", flush=True)
    for stage in MEASURED:
        runs = [[in_process(*place, stage) for place in places.items()] for _ in range(rounds)]
        for index, size_figures in enumerate(found):
            of_size = [run[index] for run in runs]
            figures = {key: min(run[key] for run in of_size) for key in ("seconds", "cpu_seconds")}
            peaks = ("peak_bytes", "process_bytes")
            figures |= {key: statistics.median(run[key] for run in of_size) for key in peaks}
            size_figures[stage] = figures
            tokens = size_figures["tokens"]
            print(
                f"{stage:12s} {tokens:15,} tokens {figures['seconds']:9.2f} s"
                f" {figures['seconds'] / tokens * 1e9:5.0f} ns a token {figures['peak_bytes'] / 2**20:6.0f} MiB",
                flush=True,
            )
    return found


def summary(sizes: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Exponent of time, and bytes of memory a response, of each stage over the sizes."""
    tokens = np.array([size["tokens"] for size in sizes], np.float64)
    responses = np.array([size["responses"] for size in sizes], np.float64)
    found: dict[str, dict[str, float]] = {}
    for stage in MEASURED:
        times = {key: np.array([size[stage][key] for size in sizes]) for key in ("seconds", "cpu_seconds")}
        peaks = np.array([size[stage]["peak_bytes"] for size in sizes])
        found[stage] = {
            "exponent": float(np.polyfit(np.log(tokens), np.log(times["seconds"]), 1)[0]),
            "exponent_of_cpu_time": float(np.polyfit(np.log(tokens), np.log(times["cpu_seconds"]), 1)[0]),
            "exponent_of_last_doubling": float(np.log2(times["seconds"][-1] / times["seconds"][-2])),
            "bytes_a_response": float((peaks[-1] - peaks[-2]) / (responses[-1] - responses[-2])),
        }
        print(f"{stage:12s} " + ", ".join(f"{name} {value:.2f}" for name, value in found[stage].items()))
    return found


def beyond_memory(place: Path, size: Size, rounds: int) -> dict[str, Any]:
    """One size whose token data of samples alone is larger than memory. Exits where the disk is too small."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    tokens = 1.05 * memory / TOKEN_BYTES
    free = shutil.disk_usage(place).free
    if free < tokens * DISK_BYTES:
        sys.exit(f"{free / 2**30:.0f} GiB are free in {place}; wanted {tokens * DISK_BYTES / 2**30:.0f} GiB")
    questions = int(
        tokens / size.mean_tokens / size.candidates / 0.97
    )  # the longest are cut at 65,536 tokens
    size = replace(size, questions=questions)
    print(f"memory {memory / 2**30:.1f} GiB")
    return {"memory_bytes": memory, "size": measure({place / "beyond-memory": size}, rounds)[0]}


def main() -> None:
    """Measure every size, or the one beyond memory."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_size_arguments(parser, 1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--beyond-memory", action="store_true", help="one size, larger than memory")
    parser.add_argument("--directory", type=Path, help="build here and keep it; else a temporary directory")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    size = size_of(arguments)
    if arguments.task == "build":
        prepare(arguments.directory, size)
        return
    if arguments.task:
        one(arguments.directory, size, arguments.task)
        return
    place = arguments.directory or Path(tempfile.mkdtemp(prefix="dasd-growth-"))
    place.mkdir(parents=True, exist_ok=True)
    try:
        if arguments.beyond_memory:
            figures = beyond_memory(place, size, arguments.rounds)
        else:
            places = {place / f"times-{n}": replace(size, questions=size.questions * n) for n in FACTORS}
            sizes = measure(places, arguments.rounds)
            figures = {"sizes": sizes, "growth": summary(sizes)}
        if arguments.json:
            arguments.json.write_text(json.dumps({"machine": describe(), **figures}, indent=2) + "\n")
    finally:
        if arguments.directory is None:
            shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
