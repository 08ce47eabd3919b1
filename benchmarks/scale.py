"""How time and memory of a run's host side grow: 10,000, 100,000 and 1,000,000 responses, and no model.

Each size is a run of its own in a process of its own: made questions, then the stages as they are, with a teacher
and student that answer and score from the seed of the request at once, and a trainer that copies its start. So what
is measured is what dasd does beside the engines: requests, units, parts, filters, selection, training rows, resume.
Printed are seconds, by the clock and of the CPU, and peak memory of each stage, what a start of the finished run, a
plan of it, `dasd runs show`, an export, the rows of a report and a stage whose responses come from a file take, and
exponents of a log-log fit of time over responses, at the two largest sizes.

Example:
    python -m benchmarks.scale
    python -m benchmarks.scale --sizes 1000 10000 --json scale.json
    python -m benchmarks.scale --ten-million --directory /large/disk
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from math import log
from pathlib import Path

from benchmarks.machine import describe, peak_bytes, restart_peak
from benchmarks.made import MadeModel, MadeQuestions, MadeTrainer
from dasd.base.progress import Console
from dasd.curation import filters, selectors, sources
from dasd.models.tokens.chat import ChatTokenizer
from dasd.pipeline.plan.measured import read_run
from dasd.pipeline.plan.reuse import selected_lengths
from dasd.pipeline.runner import Pipeline
from dasd.pipeline.stages.dedup import DedupStage
from dasd.pipeline.stages.filter import FilterStage
from dasd.pipeline.stages.from_files import GivenSamplesStage
from dasd.pipeline.stages.mix import MixStage
from dasd.pipeline.stages.sample import SampleStage
from dasd.pipeline.stages.score import ScoreStage
from dasd.pipeline.stages.select import SelectStage
from dasd.pipeline.stages.train import TrainStage
from dasd.pipeline.work.stage import Stage
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry
from dasd.recipe.model_settings import ModelSettings
from dasd.recipe.stage_settings import MixedPolicyStage, OffPolicyStage
from dasd.results.export import export_run
from dasd.results.report.cutoffs import cut_offs
from dasd.results.report.series import response_probabilities, selected_and_random
from dasd.store import Run

SIZES = (10_000, 100_000, 1_000_000)
CANDIDATES = 4
MODEL = "dasd:mini-teacher"
_DONE = {"score-low": "done", "select-low": "done"}


def _recipe(chunk: int, seed: int, given: Path | None = None) -> tuple[Recipe, Registry]:
    """``given``: a file with the responses of the off-policy training."""
    off_policy = {"name": "low", "kind": "off-policy", "temperature": 1.0}
    recipe = Recipe.load(
        {
            "name": "scale",
            "seed": seed,
            "teacher": {"model": MODEL, "backend": "made"},
            "student": {"model": MODEL, "backend": "made"},
            "questions": {"train": [{"source": "miniature", "count": 1}]},
            "sampling": {"candidates": CANDIDATES, "max_tokens": 400, "chunk": chunk},
            "stages": [
                {**off_policy, **({} if given is None else {"samples": [str(given)]})},
                {"name": "mixed", "kind": "mixed-policy", "cap": 0.7},
            ],
            "trainer": {"trainer": "made", "max_length": 2048},
        }
    )
    registry = Registry()
    for room in (sources, filters, selectors):
        room.dasd_register(registry)
    registry.teacher("made", MadeModel)
    registry.trainer("made", lambda _: MadeTrainer())
    return recipe, registry


def pipeline_of(responses: int, chunk: int, seed: int) -> Pipeline:
    """The stages of an off-policy and a mixed-policy training, less evaluation and report."""
    recipe, registry = _recipe(chunk, seed)
    low, mixed = recipe.settings.stages
    assert isinstance(low, OffPolicyStage) and isinstance(mixed, MixedPolicyStage)
    named = {"samples": "sample-low", "select": "select-low"}
    stages: list[Stage] = [
        MadeQuestions(responses // CANDIDATES),
        SampleStage(recipe, registry, "sample-low", "train", 1.0, 1.0, CANDIDATES, 400),
        FilterStage(recipe, registry, "filter-low", "sample-low", 2048),
        DedupStage(recipe, registry, "dedup-low", "sample-low", "filter-low"),
        ScoreStage(recipe, registry, "score-low", "sample-low", "dedup-low"),
        SelectStage(recipe, registry, "select-low", low, "sample-low", "dedup-low", "score-low"),
        TrainStage(recipe, registry, low, 1, mix=None, previous=None, **named),
        MixStage(recipe, registry, mixed, scores="score-low", previous=None, **named),
        TrainStage(recipe, registry, mixed, 2, mix="mix-mixed", previous="train-low", **named),
    ]
    return Pipeline(recipe, registry, stages, Console(quiet=True))


def _from_files(directory: Path, of: Run, responses: int, chunk: int, seed: int) -> Pipeline:
    """A stage that takes the responses of ``of`` from a file, and has the teacher score them."""
    file = directory / f"responses-{responses}.jsonl"
    columns = ("question_id", "candidate", "text", "seed", "finish_reason")
    of.frame("samples", "sample-low").select(columns).sink_ndjson(file)
    recipe, registry = _recipe(chunk, seed, file)
    low = recipe.settings.stages[0]
    assert isinstance(low, OffPolicyStage)
    stages = [MadeQuestions(responses // CANDIDATES), GivenSamplesStage(recipe, registry, "sample-low", low)]
    return Pipeline(recipe, registry, stages, Console(quiet=True))


def one(directory: Path, responses: int, chunk: int, seed: int) -> None:
    """Run one size; a line of JSON a figure, for the parent process."""
    pipeline = pipeline_of(responses, chunk, seed)
    path = directory / f"run-{responses}"
    chat = ChatTokenizer.load(ModelSettings(model=MODEL))  # the libraries are loaded already

    def tell(what: str, work: Callable[[], object]) -> None:
        restart_peak()
        begin, cpu = time.perf_counter(), time.process_time()
        work()
        seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
        figures = {"what": what, "seconds": seconds, "cpu_seconds": cpu, "peak_bytes": peak_bytes()}
        print(json.dumps(figures), flush=True)

    for stage in pipeline.stages:
        tell(stage.name, lambda name=stage.name: pipeline.run(path, only=name))  # type: ignore[misc]
    tell("a second start", lambda: pipeline.run(path))
    tell("a third start", lambda: pipeline.run(path))
    tell("plan", lambda: pipeline.plan(path))
    tell("plan's reuse", lambda: (read_run(path), selected_lengths(path, _DONE, chat)))
    tell("runs show", lambda: Run.open(path).stages())
    tell("verify", lambda: Run.open(path).verify())
    run = Run.open(path)
    tell("export", lambda: export_run(run, "sharegpt", directory / f"export-{responses}"))
    tell("report's rows", lambda: (response_probabilities(run, ["sample-low"], 2000, seed), cut_offs(run)))
    tell("report's picks", lambda: selected_and_random(run, ["low"], 2000, seed))
    other = _from_files(directory, run, responses, chunk, seed)
    place = directory / f"given-{responses}"
    other.run(place, only="questions")
    tell("from files", lambda: other.run(place, only="sample-low"))


def measure(directory: Path, responses: int, chunk: int, seed: int) -> dict[str, dict[str, float]]:
    """Seconds and peak memory of each step at one size, printed as they come."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.scale",
        "--one",
        str(responses),
        "--directory",
        str(directory),
    ]
    command += ["--chunk", str(chunk), "--seed", str(seed)]
    found: dict[str, dict[str, float]] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            figures = json.loads(line)
            what = figures.pop("what")
            found[what] = figures
            print(
                f"{responses:11,} {what:15s} {figures['seconds']:9.2f} s {figures['cpu_seconds']:9.2f} s of CPU"
                f" {figures['seconds'] / responses * 1e6:8.1f} us a response"
                f" {figures['peak_bytes'] / 2**20:7.0f} MiB",
                flush=True,
            )
    if process.returncode:
        sys.exit(process.returncode)
    return found


def exponents(
    sizes: Mapping[int, Mapping[str, Mapping[str, float]]],
) -> Iterator[tuple[str, dict[str, float]]]:
    """Of time over responses, by the clock and of the CPU, from the second largest size to the largest."""
    small, large = sorted(sizes)[-2:]
    for what, figures in sizes[large].items():
        before = sizes[small][what]
        yield (
            what,
            {
                name: log(figures[name] / before[name]) / log(large / small)
                for name in ("seconds", "cpu_seconds")
            },
        )


def main() -> None:
    """Run every size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="responses of each run")
    parser.add_argument("--ten-million", action="store_true", help="one more size, of 10,000,000 responses")
    parser.add_argument("--chunk", type=int, default=64, help="responses a unit")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--directory", type=Path, help="run here and keep the runs; else a temporary directory"
    )
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        one(arguments.directory, arguments.one, arguments.chunk, arguments.seed)
        return
    place = arguments.directory or Path(tempfile.mkdtemp(prefix="dasd-scale-"))
    sizes = [*arguments.sizes, *([10_000_000] if arguments.ten_million else [])]
    try:
        found = {size: measure(place, size, arguments.chunk, arguments.seed) for size in sizes}
        growth = dict(exponents(found)) if len(found) > 1 else {}
        for what, exponent in growth.items():
            print(
                f"{what:15s} exponent {exponent['seconds']:5.2f}, of CPU time {exponent['cpu_seconds']:5.2f}"
            )
        if arguments.json:
            arguments.json.write_text(
                json.dumps({"machine": describe(), "sizes": found, "exponents": growth}, indent=2) + "\n"
            )
    finally:
        if arguments.directory is None:
            shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
