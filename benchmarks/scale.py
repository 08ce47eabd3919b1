"""How time and memory of a run's host side grow: 10,000, 100,000 and 1,000,000 responses, and no model.

Each size is a run of its own in a process of its own: made questions, then the stages as they are, with a teacher
and student that answer and score from the seed of the request at once, and a trainer that copies its start. So what
is measured is what dasd does beside the engines: requests, units, parts, filters, selection, training rows, resume.
Printed are seconds and peak memory of each stage, what a start of the finished run, a plan of it and `dasd runs show`
take, and the exponent of a log-log fit of time over responses, at the two largest sizes.

Example:
    python -m benchmarks.scale
    python -m benchmarks.scale --sizes 1000 10000 --json scale.json
    python -m benchmarks.scale --ten-million --directory /large/disk
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import JsonValue

from benchmarks.machine import describe, peak_bytes, restart_peak
from dasd.base.progress import Console
from dasd.base.records import (
    ContinueRequest,
    ModelInfo,
    SampleRequest,
    SamplingSpec,
    ScoreRequest,
    ScoringSpec,
)
from dasd.base.schemas import LOSSES, QUESTIONS, SAMPLES, SCORES
from dasd.curation import filters, selectors, sources
from dasd.models.tokens.chat import ChatTokenizer
from dasd.pipeline.runner import Pipeline
from dasd.pipeline.stages.dedup import DedupStage
from dasd.pipeline.stages.filter import FilterStage
from dasd.pipeline.stages.mix import MixStage
from dasd.pipeline.stages.sample import SampleStage
from dasd.pipeline.stages.score import ScoreStage
from dasd.pipeline.stages.select import SelectStage
from dasd.pipeline.stages.train import TrainStage
from dasd.pipeline.work.stage import Stage, StageContext
from dasd.pipeline.work.units import finish_rows, units
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry
from dasd.plugins.roles import Checkpoint, TrainProgress, TrainSpec
from dasd.recipe.model_settings import ModelSettings
from dasd.recipe.stage_settings import MixedPolicyStage, OffPolicyStage
from dasd.store import Run

SIZES = (10_000, 100_000, 1_000_000)
CANDIDATES = 4
MODEL = "dasd:mini-teacher"
SENTENCES = 500
BATCH = 64
"""Rows of a frame that the made engine gives."""


class MadeModel:
    """A teacher or student: sentences drawn by the request's seed, their tokens known beforehand."""

    def __init__(self, settings: ModelSettings) -> None:
        self._chat = ChatTokenizer.load(settings)
        self.info = ModelInfo(
            settings.model, "r1", self._chat.hash, "made", "1", "raw", 4096, concurrency=256
        )
        draw = random.Random(0)
        self._pieces = [self._piece(f" Step {n} gives {draw.randrange(10**6)}.\n") for n in range(SENTENCES)]
        self._open, self._close = self._piece("<think>"), self._piece("</think> So the answer is 7.")

    def _piece(self, text: str) -> tuple[str, list[int], list[int]]:
        return (text, *self._chat.encode_response(text, ended=False))

    def _row(
        self, request: SampleRequest | ContinueRequest, spec: SamplingSpec, prefix: str
    ) -> tuple[object, ...]:
        draw = random.Random(request.seed)
        text, ids, ends = prefix, *self._chat.encode_response(prefix, ended=False)
        drawn = [self._pieces[draw.randrange(SENTENCES)] for _ in range(draw.randrange(3, 8))]
        close = () if "</think>" in prefix else (self._close,)
        for piece, piece_ids, piece_ends in (*(() if prefix else (self._open,)), *drawn, *close):
            start = len(text.encode())
            text, ids = text + piece, ids + piece_ids
            ends = ends + [start + end for end in piece_ends]
        ids, ends, finish = [*ids, self._chat.eos_id], [*ends, len(text)], "stop"
        cap = request.max_tokens or spec.max_tokens
        if not prefix and len(ids) > cap:
            ids, ends, finish = ids[:cap], ends[:cap], "length"
            text = text[: ends[-1]]
        return (
            *(request.sample_id, request.question_id, spec.stage, request.candidate, text, ids, ends),
            *(
                self._logprobs(request.seed, len(ids)),
                "raw",
                spec.temperature,
                spec.top_p,
                request.seed,
                finish,
            ),
            *(len(prefix), self.info.model, "r1", self.info.tokenizer_hash, "made", "1"),
        )

    def _logprobs(self, seed: int, count: int) -> list[float]:
        steepness = (0.2 + seed // 1009 % 5) / 1009
        return [-((seed + place * 7919) % 1009) * steepness for place in range(count)]

    def sample(self, requests: Iterable[SampleRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        """SAMPLES rows, some at a time."""
        return _frames((self._row(request, spec, "") for request in requests), SAMPLES.columns)

    def continue_(self, requests: Iterable[ContinueRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        """SAMPLES rows that begin with the prefix."""
        return _frames((self._row(request, spec, request.prefix) for request in requests), SAMPLES.columns)

    def score(self, requests: Iterable[ScoreRequest], spec: ScoringSpec) -> Iterator[pl.DataFrame]:
        """SCORES rows."""
        del spec
        return _frames(map(self._scored, requests), SCORES.columns)

    def _scored(self, request: ScoreRequest) -> tuple[object, ...]:
        known = request.sampled
        if known is None or known.tokenizer_hash != self._chat.hash:
            ids, ends = self._chat.encode_response(request.text, request.ended)
        else:
            ids, ends = list(known.token_ids), list(known.token_ends)
        return request.sample_id, "made", ids, ends, self._logprobs(int(request.sample_id[:8], 16), len(ids))

    def close(self) -> None:
        """Nothing is held."""


def _frames(rows: Iterator[tuple[object, ...]], columns: Mapping[str, Any]) -> Iterator[pl.DataFrame]:
    held: list[tuple[object, ...]] = []
    for row in rows:
        held.append(row)
        if len(held) == BATCH:
            yield pl.DataFrame(held, schema=dict(columns), orient="row")
            held = []
    if held:
        yield pl.DataFrame(held, schema=dict(columns), orient="row")


class MadeTrainer:
    """Copies the start model."""

    def train(self, shards: Sequence[Path], spec: TrainSpec, resume: bool) -> Checkpoint:
        """One step."""
        del shards, resume
        shutil.copytree(spec.model, spec.output, dirs_exist_ok=True)
        step = (spec.stage, 1, 1.0, 1.0, 1e-3, 1.0, 1, 0.1)
        spec.on_step(TrainProgress(1, 1, 1.0, 1.0, 1e-3, 1.0, 1, 0.1))
        pl.DataFrame([step], schema=dict(LOSSES.columns), orient="row").write_parquet(
            spec.output / "losses.parquet"
        )
        return Checkpoint(spec.output, 1, 1, 1.0, 1.0, 0.1)


@dataclass(frozen=True, slots=True)
class MadeQuestions:
    """Stage ``questions``."""

    count: int
    name: str = "questions"
    kind: str = field(default="questions", init=False)
    frame: str = field(default="questions", init=False)
    passes_on: str | None = field(default=None, init=False)
    needs: tuple[str, ...] = field(default=(), init=False)

    def settings(self) -> Mapping[str, JsonValue]:
        """The size."""
        return {"count": self.count}

    def run(self, context: StageContext) -> None:
        """Write them, 4,096 a unit."""
        for unit in units(self.count, 4096):
            rows = [
                (
                    f"{number * 0x9E3779B97F4A7C15 % 2**128:032x}",
                    [{"role": "user", "content": f"What is {number} + {number % 97}? Think step by step."}],
                    *("sums", None, None, "made", "train"),
                )
                for number in range(unit.start, unit.stop)
            ]
            finish_rows(
                context, "questions", pl.DataFrame(rows, schema=dict(QUESTIONS.columns), orient="row"), unit
            )


def pipeline_of(responses: int, chunk: int, seed: int) -> Pipeline:
    """The stages of an off-policy and a mixed-policy training, less evaluation and report."""
    recipe = Recipe.load(
        {
            "name": "scale",
            "seed": seed,
            "teacher": {"model": MODEL, "backend": "made"},
            "student": {"model": MODEL, "backend": "made"},
            "questions": {"train": [{"source": "miniature", "count": 1}]},
            "sampling": {"candidates": CANDIDATES, "max_tokens": 400, "chunk": chunk},
            "stages": [
                {"name": "low", "kind": "off-policy", "temperature": 1.0},
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


def one(directory: Path, responses: int, chunk: int, seed: int) -> None:
    """Run one size; a line of JSON a figure, for the parent process."""
    pipeline = pipeline_of(responses, chunk, seed)
    path = directory / f"run-{responses}"
    ChatTokenizer.load(ModelSettings(model=MODEL))  # the libraries are loaded already

    def tell(what: str, work: Callable[[], object]) -> None:
        restart_peak()
        begin = time.perf_counter()
        work()
        seconds = time.perf_counter() - begin
        print(json.dumps({"what": what, "seconds": seconds, "peak_bytes": peak_bytes()}), flush=True)

    for stage in pipeline.stages:
        tell(stage.name, lambda name=stage.name: pipeline.run(path, only=name))  # type: ignore[misc]
    tell("a second start", lambda: pipeline.run(path))
    tell("a third start", lambda: pipeline.run(path))
    tell("plan", lambda: pipeline.plan(path))
    tell("runs show", lambda: Run.open(path).stages())
    tell("verify", lambda: Run.open(path).verify())


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
                f"{responses:11,} {what:15s} {figures['seconds']:9.2f} s"
                f" {figures['seconds'] / responses * 1e6:8.1f} us a response"
                f" {figures['peak_bytes'] / 2**20:7.0f} MiB",
                flush=True,
            )
    if process.returncode:
        sys.exit(process.returncode)
    return found


def exponents(sizes: Mapping[int, Mapping[str, Mapping[str, float]]]) -> dict[str, float]:
    """Of time over responses, from the second largest size to the largest."""
    small, large = sorted(sizes)[-2:]
    return {
        what: log(sizes[large][what]["seconds"] / sizes[small][what]["seconds"]) / log(large / small)
        for what in sizes[large]
    }


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
        growth = exponents(found) if len(found) > 1 else {}
        for what, exponent in growth.items():
            print(f"{what:15s} exponent {exponent:5.2f}")
        if arguments.json:
            arguments.json.write_text(
                json.dumps({"machine": describe(), "sizes": found, "exponents": growth}, indent=2) + "\n"
            )
    finally:
        if arguments.directory is None:
            shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
