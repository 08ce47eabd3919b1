"""How full an engine is kept: units of work as barriers against requests that flow in over units.

``simulation``: lengths as the technical report's, on engines with given times of a step. ``server``: a run's stage
against a real HTTP server on this machine whose answers take log-normal times, held against the same times without any
gap. ``vllm``: a run's stage on vLLM against one bare ``LLM.generate`` of the same requests, whose caps are log-normal.
The stage writes its parts, as in any run. ``differ``: what the same requests are answered by vLLM when they are fed in
another way: once more, in the opposite order, or interrupted at drawn moments and resumed.

Example:
    python -m benchmarks.feeding simulation
    python -m benchmarks.feeding server --rounds 5
    python -m benchmarks.feeding vllm --model models/smollm2-135m-instruct --precision bf16 --requests 256
    python -m benchmarks.feeding differ --requests 256
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import polars as pl
from pydantic import JsonValue

from benchmarks.loopback import Answers, Loopback, http
from benchmarks.machine import describe
from dasd.api import Message, ModelSettings, OpenedTeacher, SampleRequest, SamplingSpec
from dasd.base.progress import Console
from dasd.pipeline.plan.engine_time import Engine, draw_lengths, simulate
from dasd.pipeline.runner import Pipeline
from dasd.pipeline.work.feeding import AHEAD, asking_for, generate
from dasd.pipeline.work.stage import StageContext
from dasd.pipeline.work.units import units
from dasd.plugins.host import PluginHost
from dasd.plugins.recipe import Recipe

SPREAD = 0.8
"""Of the logarithm of lengths and times."""


@dataclass(frozen=True)
class Asks:
    """A stage of a run that asks one engine for these responses."""

    teacher: Callable[[], OpenedTeacher]
    requests: Sequence[SampleRequest]
    spec: SamplingSpec
    chunk: int
    name: str = field(default="sample-low", init=False)
    kind: str = field(default="sample", init=False)
    needs: tuple[str, ...] = field(default=(), init=False)
    frame: ClassVar[str] = "samples"
    passes_on: ClassVar[str | None] = None

    def settings(self) -> Mapping[str, JsonValue]:
        """Nothing: the run is thrown away."""
        return {}

    def run(self, context: StageContext) -> None:
        """As stage ``sample`` does it."""
        asking = asking_for(
            lambda unit: unit.of(self.requests),
            units(len(self.requests), self.chunk),
            self.teacher,
            lambda teacher, asked, on_refused: teacher.sample(
                asked, replace(self.spec, on_refused=on_refused)
            ),
        )
        generate(context, self.name, asking, "samples")

    def seconds(self) -> float:
        """Of the stage in a run of its own; each response has to be there once."""
        with tempfile.TemporaryDirectory() as directory:
            pipeline = Pipeline(
                Recipe.load("demo"), PluginHost.load([]).registry, [self], Console(quiet=True)
            )
            begun = time.perf_counter()
            run = pipeline.run(directory)
            took = time.perf_counter() - begun
            found = run.frame("samples").select("sample_id").collect().to_series()
            assert sorted(found) == sorted(request.sample_id for request in self.requests)
        return took


# -- simulation -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Machine:
    """An engine by the room that is left for keys and values; a rule on paper, not a measurement."""

    name: str
    room: float
    """Tokens."""


# Qwen3-30B-A3B: 48 layers, 4 key-value heads of 128: 98 KB a token in bf16, 49 KB in fp8; weights 61 and 31 GB. Nine
# tenths of a GPU's 80 GB, less 4 GB of activations, are taken.
MACHINES = (
    Machine("one H100, bf16", (0.9 * 80e9 - 61e9 - 4e9) / 98_304),
    Machine("one H100, fp8 weights and cache", (0.9 * 80e9 - 31e9 - 4e9) / 49_152),
    Machine("eight H100, bf16, tensor parallel", (8 * (0.9 * 80e9 - 4e9) - 61e9) / 98_304),
)
STEP, STEP_A_SEQUENCE, READ = 0.012, 0.00002, 0.00002
MEAN, CAP, PROMPT = 13_800, 65_536, 200


def simulation(count: int, seed: int) -> None:
    """Today's barrier, more sequences behind the barrier, and fed; a table."""
    lengths = draw_lengths(count, MEAN, SPREAD, CAP, seed)
    print(
        f"{count:,} responses, log-normal (mean {MEAN:,}, sigma {SPREAD}, cap {CAP:,}), seed {seed}; a step takes"
    )
    print(
        f"{1e3 * STEP:g} ms + {1e3 * STEP_A_SEQUENCE:g} ms a sequence; hours of one engine, "
        "and how many times as fast as the first"
    )
    columns = (
        "engine",
        "room, tokens",
        "units of 256, 32 at once",
        "units of 256, 1,024",
        "fed, 1,024",
        "running",
        "bound",
    )
    print("| " + " | ".join(columns) + " |")
    print("|---|" + "---:|" * 5 + "---|")
    for machine in MACHINES:
        engine = partial(
            Engine, step_seconds=STEP, step_seconds_a_sequence=STEP_A_SEQUENCE, room=machine.room
        )
        first = simulate(lengths, engine(32, read_seconds_a_token=READ), PROMPT, unit=256)
        more = simulate(lengths, engine(1024, read_seconds_a_token=READ), PROMPT, unit=256)
        fed = simulate(lengths, engine(1024, read_seconds_a_token=READ), PROMPT, ahead=AHEAD)
        cells = [machine.name, f"{machine.room:,.0f}", f"{first.seconds / 3600:.1f}"]
        cells += [
            f"{found.seconds / 3600:.1f} ({first.seconds / found.seconds:.2f})" for found in (more, fed)
        ]
        print("| " + " | ".join([*cells, f"{fed.running:.0f}", fed.bound]) + " |")


# -- a server whose answers take their time ------------------------------------------------------------


def perfect(times: Sequence[float], together: int) -> float:
    """Seconds without any gap, in the order of the requests."""
    places = [0.0] * together
    for each in times:
        heapq.heapreplace(places, places[0] + each)
    return max(places)


def server(count: int, together: int, chunk: int, mean: float, rounds: int, seed: int) -> None:
    """The stage against the server, round by round."""
    middle = math.log(mean) - SPREAD**2 / 2
    answers, ratios = Answers(), []

    def time_of(request: int) -> float:
        return random.Random(f"{seed} {request}").lognormvariate(middle, SPREAD)

    async def handle(path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        if body.get("seed", 0):  # else one of those by which the backend finds out what the server is
            await asyncio.sleep(time_of(int(body["seed"])))
        writer.write(http(answers.to(path, body)))

    with Loopback(handle) as loopback:
        settings = ModelSettings(
            model="dasd:mini-teacher",
            backend="openai",
            options={"base_url": loopback.url, "concurrency": together},
        )
        teacher = PluginHost.load(["openai"]).registry.make_teacher(settings)
        try:
            for number in range(rounds):
                seeds = range(1 + number * count, 1 + (number + 1) * count)
                requests = [
                    SampleRequest(f"s{each}", f"q{each}", (Message("user", "9 + 3?"),), 0, each)
                    for each in seeds
                ]
                took = Asks(lambda: teacher, requests, SamplingSpec("low", 1.0, 1.0, 48), chunk).seconds()
                best = perfect([time_of(each) for each in seeds], together)
                ratios.append(took / best)
                print(
                    f"round {number + 1}: {took:.2f} s, without gaps {best:.2f} s",
                    file=sys.stderr,
                    flush=True,
                )
        finally:
            teacher.close()
    print(
        f"{count} answers, {together} at a time, units of {chunk}; times log-normal (mean {mean:g} s), seed {seed}"
    )
    print(_spread("stage / without gaps", ratios))


# -- vLLM ------------------------------------------------------------------------------------------------


def vllm(settings: ModelSettings, count: int, chunk: int, mean: int, rounds: int, seed: int) -> None:
    """The stage on vLLM and one bare ``generate`` in turn, on the same engine."""
    from benchmarks.engines import Work, both

    caps = draw_lengths(count, mean, SPREAD, 8 * mean, seed)
    work = Work(settings, count, 4, 8 * mean, 1.0, caps)
    runs, teacher = both(work)
    stage = Asks(lambda: teacher, work.sample_requests(), SamplingSpec("low", 1.0, 1.0, 8 * mean), chunk)
    ratios = []
    try:
        for number in range(rounds + 1):
            took: dict[str, float] = {}
            for side in ("stage", "bare") if number % 2 else ("bare", "stage"):
                if side == "stage":
                    took[side] = stage.seconds()
                else:
                    begun = time.perf_counter()
                    runs["bare"]()
                    took[side] = time.perf_counter() - begun
            print(f"round {number}: {took}", file=sys.stderr, flush=True)
            if number:  # the first compiles and warms up
                ratios.append(took["stage"] / took["bare"])
    finally:
        teacher.close()
    print(
        f"{settings.model}, {count} requests, {settings.batch_size} at a time, units of {chunk}, "
        f"caps log-normal (mean {mean})"
    )
    print(_spread("stage / bare", ratios))


# -- what another way of feeding changes -----------------------------------------------------------------


def differ(settings: ModelSettings, count: int, mean: int, rounds: int, seed: int) -> None:
    """The same requests on one engine, fed in several ways, held against the first; a table."""
    from benchmarks.engines import Work

    caps = draw_lengths(count, mean, SPREAD, 8 * mean, seed)
    requests = Work(settings, count, 4, 8 * mean, 1.0, caps).sample_requests()
    spec = SamplingSpec("low", 1.0, 1.0, 8 * mean)
    teacher = PluginHost.load(["vllm"]).registry.make_teacher(settings)
    draw = random.Random(seed)

    def interrupted() -> list[pl.DataFrame]:
        """Stopped three times; what has been given is kept, and the rest is asked again."""
        given: list[pl.DataFrame] = []
        for after in [*sorted(draw.sample(range(1, count), 3)), count]:
            done = {sample_id for frame in given for sample_id in frame["sample_id"]}
            frames = teacher.sample(iter([each for each in requests if each.sample_id not in done]), spec)
            while len(done) < after and (frame := next(frames, None)) is not None:
                given.append(frame)
                done.update(frame["sample_id"])
            frames.close()  # type: ignore[attr-defined]
        return given

    ways: dict[str, Callable[[], Sequence[pl.DataFrame]]] = {
        "once more": lambda: list(teacher.sample(iter(requests), spec)),
        "in the opposite order": lambda: list(teacher.sample(iter(requests[::-1]), spec)),
        "interrupted three times": interrupted,
    }
    try:
        first = pl.concat(teacher.sample(iter(requests), spec)).sort("sample_id")
        found: dict[str, list[tuple[int, float]]] = {
            way: [_apart(first, pl.concat(ask()).sort("sample_id")) for _ in range(rounds)]
            for way, ask in ways.items()
        }
    finally:
        teacher.close()
    print(
        f"{settings.model} in {settings.precision}, {count} requests, {settings.batch_size} at a time, "
        f"caps log-normal (mean {mean}), {first['token_ids'].list.len().sum()} tokens, temperature 1, seed {seed}"
    )
    print("| fed | with other tokens, of each round | largest difference where tokens are equal, nats |")
    print("|---|---|---:|")
    for way, pairs in found.items():
        shares = ", ".join(f"{100 * other / count:.1f} %" for other, _ in pairs)
        print(f"| {way} | {shares} | {max(nats for _, nats in pairs):.2g} |")


def _apart(one: pl.DataFrame, two: pl.DataFrame) -> tuple[int, float]:
    """How many responses have other tokens, and by how much log-probabilities of the rest differ at most."""
    assert one["sample_id"].equals(two["sample_id"])
    others, largest = 0, 0.0
    columns = ("token_ids", "logprobs")
    for (ids, nats), (ids_2, nats_2) in zip(
        one.select(columns).iter_rows(), two.select(columns).iter_rows(), strict=True
    ):
        if ids != ids_2:
            others += 1
        else:
            largest = max([largest, *(abs(a - b) for a, b in zip(nats, nats_2, strict=True))])
    return others, largest


def _spread(what: str, ratios: Sequence[float]) -> str:
    low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
    return f"{what}: {low:.3f} / {middle:.3f} / {high:.3f} (minimum, median, maximum of {len(ratios)} rounds)"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("simulation", "server", "vllm", "differ"))
    parser.add_argument("--requests", type=int, help="default: 20,000 in a simulation, 256 else")
    parser.add_argument("--together", type=int, default=32)
    parser.add_argument("--chunk", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mean-seconds", type=float, default=0.6, help="of the server's answers")
    parser.add_argument("--mean-tokens", type=int, default=40, help="of the caps for vLLM")
    parser.add_argument("--model", default="dasd:mini-teacher")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    given = parser.parse_args()
    machine = describe()
    print(f"{machine['cpu']}, {machine['cores']} cores", file=sys.stderr)
    if given.what == "simulation":
        simulation(given.requests or 20_000, given.seed)
    elif given.what == "server":
        server(
            given.requests or 256, given.together, given.chunk, given.mean_seconds, given.rounds, given.seed
        )
    else:
        settings = ModelSettings(
            model=given.model,
            backend="vllm",
            precision=given.precision,
            batch_size=given.together,
            options={"kv_cache_memory_mib": 512},
        )
        requests = given.requests or 256
        if given.what == "vllm":
            vllm(settings, requests, given.chunk, given.mean_tokens, given.rounds, given.seed)
        else:
            differ(settings, requests, given.mean_tokens, given.rounds, given.seed)


if __name__ == "__main__":
    main()
