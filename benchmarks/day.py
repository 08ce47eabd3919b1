"""A day of the technical report's run, without a model: as many responses, killed many times, and where time goes.

The pipeline samples, filters, looks for duplicates, scores and selects with the backend of ``benchmarks.simulated``,
whose answers have a hundredth of the report's lengths. The process is killed (SIGKILL) at random moments; in the end
each response has to be there once, with the very tokens of its seed.

Example:
    python -m benchmarks.day --responses 435000 --kills 100
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import defaultdict
from datetime import datetime
from pathlib import Path

from benchmarks.machine import describe
from benchmarks.simulated import Answers, Options, Simulated, register
from dasd.api import ChatTokenizer, ModelSettings
from dasd.base.progress import Console
from dasd.pipeline.runner import Pipeline
from dasd.plugins.host import PluginHost
from dasd.plugins.recipe import Recipe
from dasd.store import Run

CANDIDATES, CAP = 4, 655
LAST = "select-low"


def recipe(directory: Path, questions: int, seed: int) -> Recipe:
    """So many questions, four responses each."""
    asked = directory / "questions.jsonl"
    if not asked.exists():
        asked.write_text(
            "".join(
                json.dumps({"question": f"What is {n} times {n + 7}?", "answer": str(n)}) + "\n"
                for n in range(questions)
            )
        )
    model = {"backend": "simulated", "device": "cpu"}
    return Recipe.load(
        {
            "name": "day",
            "seed": seed,
            "teacher": {"model": "dasd:mini-teacher", **model},
            "student": {"model": "dasd:mini-student", **model},
            "questions": {"train": [{"source": "file", "options": {"path": str(asked)}}], "eval": []},
            "sampling": {"candidates": CANDIDATES, "max_tokens": CAP, "chunk": 256},
            "filters": {"structure": "any", "truncated": False, "repetition": False, "answer": False},
            "stages": [{"name": "low", "kind": "off-policy", "temperature": 0.6}],
        }
    )


def run(directory: Path, questions: int, seed: int) -> None:
    """The pipeline, in this process."""
    host = PluginHost()
    register(host.registry)
    made = recipe(directory, questions, seed)
    Pipeline(made, host.registry, console=Console(quiet=True)).run(directory / "run", until=LAST)
    (directory / "clock").write_text(str(Simulated.clock))


def killed(directory: Path, questions: int, kills: int, seconds: float, seed: int) -> int:
    """Start it again and again, kill it after a drawn time; the number of kills that hit."""
    draw, hit = random.Random(seed), 0
    while True:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                run(directory, questions, seed)
                code = 0
            finally:
                os._exit(code)
        deadline = time.monotonic() + (draw.expovariate(1 / seconds) if hit < kills else float("inf"))
        while True:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
                    return hit
                raise SystemExit(f"the run ended with status {status}")
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                hit += 1
                print(f"kill {hit}", file=sys.stderr, flush=True)
                break
            time.sleep(0.01)


def check(directory: Path, questions: int) -> dict[str, int]:
    """Rows by what is wrong with them."""
    found = Run.open(directory / "run")
    answers = Answers(ChatTokenizer.load(ModelSettings(model="dasd:mini-teacher")), Options())
    wrong, seen = 0, 0
    samples = found.frame("samples", "sample-low")
    ids = samples.select("sample_id").collect().to_series()
    for part in samples.select("seed", "token_ids", "text").collect().iter_slices(8192):
        for seed, tokens, text in part.iter_rows():
            seen += 1
            expected = answers.of(seed, CAP)
            wrong += tokens != expected[1] or text != expected[0]
    return {
        "responses": seen,
        "lost": questions * CANDIDATES - ids.n_unique(),
        "doubled": len(ids) - ids.n_unique(),
        "with other tokens than their seed's": wrong,
        "scored": found.frame("scores", "score-low").select("sample_id").collect().n_unique(),
        "selected": found.frame("verdicts", LAST).collect()["kept"].sum(),
    }


def times(directory: Path) -> dict[str, float]:
    """Seconds of each stage over all starts; one that was killed lasts until the next start."""
    spent: dict[str, float] = defaultdict(float)
    started: dict[str, float] = {}
    for line in (directory / "run" / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        now = datetime.fromisoformat(event["time"]).timestamp()
        if event["kind"] == "run_started":
            for stage, begun in started.items():
                spent[stage] += now - begun
            started = {}
        elif event["kind"] == "stage_started":
            started[event["stage"]] = now
        elif event["kind"] == "stage_finished":
            spent[event["stage"]] += now - started.pop(event["stage"])
    return dict(spent)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--responses", type=int, default=435_000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=5.0, help="until a kill, on average")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    questions = given.responses // CANDIDATES
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        begun = time.monotonic()
        hit = killed(directory, questions, given.kills, given.seconds, given.seed)
        took = time.monotonic() - begun
        machine = describe()
        print(f"{machine['cpu']}, {machine['cores']} cores; seed {given.seed}; {took:.0f} s in all")
        print(f"kills that hit: {hit}")
        for what, count in check(directory, questions).items():
            print(f"{what}: {count:,}")
        for stage, seconds in times(directory).items():
            print(f"  {stage}: {seconds:.0f} s")


if __name__ == "__main__":
    main()
