"""Thousands of requests in flight to a server that answers late, badly or not at all: nothing lost, memory flat.

A real HTTP server on this machine, in a process of its own, takes log-normal times and spoils a part of the
requests (429, 500 and 503 with Retry-After, resets, answers cut off, no answer in time). Backend `openai` asks it
in rounds. Each sample has to come once, with the log-probabilities of its own seed. Needs dasd-openai.

Example:
    python -m benchmarks.load --minutes 10
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import resource
import statistics
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.loopback import Answers, Loopback, http, logprobs_of, reset
from benchmarks.machine import describe
from dasd.api import Message, ModelSettings, SampleRequest, SamplingSpec
from dasd.plugins.host import PluginHost

FAULTS = ("429", "500", "503", "reset", "cut off", "no answer")
SPOILT = 0.06
"""Share of requests that meet a fault, of any kind."""
ROUNDS_AHEAD = 5
"""Requests of a round, in those that are in flight."""
ROOM = 1.1, 32 * 2**20
"""Memory may end at so many times what it was after the first fifth of the time, and so many bytes."""


@dataclass(frozen=True)
class Load:
    """What is asked. Times in seconds; ``median`` and ``spread`` (of the logarithm) are of the answers'."""

    minutes: float = 10.0
    in_flight: int = 2000
    median: float = 8.0
    spread: float = 0.8
    timeout: float = 60.0
    seed: int = 0


class Faulty:
    """The server's side: draws a time and a fault from the seed, the request's own and how often it has come."""

    def __init__(self, load: Load) -> None:
        self._load, self._answers = load, Answers()
        self._times: Counter[int] = Counter()
        self._counts: Counter[str] = Counter()
        self._at_once = 0

    async def handle(self, path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        """One request."""
        if path.endswith("/counts"):
            writer.write(http(self._counts))
        elif body.get("seed", 0) == 0:  # one of those by which the backend finds out what the server is
            writer.write(http(self._answers.to(path, body)))
        else:
            self._at_once += 1
            self._counts["most at once"] = max(self._counts["most at once"], self._at_once)
            try:
                await self._spoilt_or_not(path, body, writer)
            finally:
                self._at_once -= 1

    async def _spoilt_or_not(self, path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        seed, load = int(body["seed"]), self._load
        drawn = random.Random(f"{load.seed} {seed} {self._times[seed]}")
        fault = drawn.choice(FAULTS) if drawn.random() < SPOILT else None
        self._times[seed] += 1
        self._counts["requests"] += 1
        if fault == "no answer":
            self._counts[fault] += 1
            await asyncio.sleep(load.timeout)
            writer.close()
            return
        await asyncio.sleep(drawn.lognormvariate(math.log(load.median), load.spread))
        answer = http(self._answers.to(path, body))
        if fault is None:
            writer.write(answer)
            return
        self._counts[fault] += 1
        if fault == "reset":
            reset(writer)
        elif fault == "cut off":
            writer.write(answer[: len(answer) // 2])
            writer.close()
        else:
            writer.write(http(b"not now", int(fault), Retry_After=f"{drawn.random() * load.median / 8:.2f}"))


@dataclass(frozen=True)
class Found:
    """What came of it. ``resident``: bytes of this process, taken over time."""

    wanted: int
    lost: int
    doubled: int
    wrong: int
    seconds: float
    resident: tuple[int, ...]
    served: dict[str, int]

    @property
    def grown(self) -> tuple[float, float]:
        """Bytes after the first fifth of the time, and at the end."""
        part = max(1, len(self.resident) // 5)
        return statistics.median(self.resident[part : 2 * part + 1]), statistics.median(self.resident[-part:])

    @property
    def good(self) -> bool:
        """Whether each sample came once, as asked for, and memory stayed."""
        early, late = self.grown
        return not (self.lost or self.doubled or self.wrong) and late <= ROOM[0] * early + ROOM[1]


def measure(url: str, load: Load) -> Found:
    """Ask the server at ``url`` round after round until the time is over."""
    options = {"base_url": url, "concurrency": load.in_flight, "timeout": load.timeout, "retries": 20}
    settings = ModelSettings(
        model="dasd:mini-teacher", backend="openai", options={**options, "backoff": load.median / 8}
    )
    teacher = PluginHost.load(["openai"]).registry.make_teacher(settings)
    spec = SamplingSpec("load", 1.0, 1.0, 48)
    wanted = lost = doubled = wrong = 0
    resident = []
    begun = time.monotonic()
    try:
        while not wanted or time.monotonic() < begun + 60 * load.minutes:
            seeds = range(wanted + 1, wanted + 1 + ROUNDS_AHEAD * load.in_flight)
            wanted += len(seeds)
            requests = [
                SampleRequest(f"s{seed}", f"q{seed}", (Message("user", "9 + 3?"),), 0, seed) for seed in seeds
            ]
            came: Counter[str] = Counter()
            taken = time.monotonic()
            for frame in teacher.sample(requests, spec):
                came.update(frame["sample_id"])
                wrong += wrong_rows(frame)
                if not resident or time.monotonic() > taken + 1:
                    taken = time.monotonic()
                    resident.append(resident_bytes())
            lost += len(seeds) - len(came)
            doubled += came.total() - len(came)
        seconds = time.monotonic() - begun
    finally:
        teacher.close()
    with urllib.request.urlopen(f"{url}/counts", timeout=60) as answer:  # noqa: S310 - our own server
        served = json.load(answer)
    return Found(wanted, lost, doubled, wrong, seconds, (*resident, resident_bytes()), served)


def wrong_rows(frame: pl.DataFrame) -> int:
    """Rows with other log-probabilities than those of their own seed."""
    rows = zip(frame["seed"], frame["logprobs"].to_list(), strict=True)
    return sum(
        any(abs(a - b) > 1e-6 for a, b in zip(found, logprobs_of(seed, len(found)), strict=True))
        for seed, found in rows
    )


def resident_bytes() -> int:
    """Of this process, now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def allow_files(count: int) -> None:
    """Raise what this process and those that it starts may open. Exits where the system allows no more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        if hard != resource.RLIM_INFINITY and hard < count:
            raise SystemExit(
                f"wanted {count} open files, and this machine allows {hard}: raise that, or lower --in-flight"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def table(load: Load, found: Found) -> str:
    """A few lines for people."""
    early, late = found.grown
    faults = ", ".join(f"{name} {found.served.get(name, 0):,}" for name in FAULTS)
    rows = {
        "in flight": f"{load.in_flight:,} ({found.served['most at once']:,} at the server at once), seed {load.seed}",
        "samples": f"{found.wanted:,} in {found.seconds:.0f} s, {found.wanted / found.seconds:.0f} a second",
        "faults met": f"{faults}; of {found.served['requests']:,} requests",
        "lost, doubled, wrong": f"{found.lost}, {found.doubled}, {found.wrong}",
        "memory": f"{early / 2**20:.0f} MiB after a fifth of the time, {late / 2**20:.0f} at the end, "
        f"{max(found.resident) / 2**20:.0f} at most",
    }
    return "\n".join(f"{name:22}{value}" for name, value in rows.items())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    names = {name: type(value) for name, value in vars(Load()).items()}
    for name, kind in names.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=getattr(Load(), name))
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = vars(parser.parse_args())
    serve = given.pop("serve")
    load = Load(**given)
    allow_files(load.in_flight + 512)
    if serve:
        with Loopback(Faulty(load).handle) as server:
            print(server.url, flush=True)
            sys.stdin.read()
        return
    options = [text for name in names for text in (f"--{name.replace('_', '-')}", str(getattr(load, name)))]
    command = [sys.executable, "-m", "benchmarks.load", "--serve", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        found = measure(server.stdout.readline().strip(), load)
        server.communicate()
    print(describe())
    print(table(load, found))
    raise SystemExit(not found.good)


if __name__ == "__main__":
    main()
