"""Runs of real stages, killed with SIGKILL at every (or every second) change to the disk.

A process of its own (this file as a program) runs the stages; it is killed, started again, and what it leaves
is compared byte for byte with a run that nobody interrupted.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from pydantic import JsonValue
from tests.in_memory import in_memory

import dasd.evaluation.sandbox.permission  # noqa: F401  # what every run imports late
from dasd.base.progress import Console
from dasd.pipeline.runner import Pipeline
from dasd.pipeline.work.stage import StageContext
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry

ROOT = Path(__file__).parents[2]
RECIPE = Recipe.load(
    {
        "name": "kill",
        "teacher": {"model": "dasd:mini-teacher"},
        "student": {"model": "dasd:mini-student"},
        "questions": {"train": [{"source": "miniature"}]},
        "stages": [{"name": "low", "temperature": 0.6}],
    }
)
CHANGES = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"})
"""What Python announces before it changes a disk."""


def words(*keys: object) -> str:
    """Text that depends on nothing but ``keys``, as a sample does on its request."""
    return hashlib.blake2b(repr(keys).encode()).hexdigest()


def verdicts(stage: str, texts: Sequence[str]) -> pl.DataFrame:
    ids = [f"{stage}-{words(text)[:8]}" for text in texts]
    return pl.DataFrame({"sample_id": ids, "stage": stage, "kept": True, "reason": "", "detail": texts})


@dataclass
class Generate:
    """Units of rows, two frames each, like sampling."""

    name: str
    units: int
    seed: int
    kind: str = "generate"
    needs: Sequence[str] = ()

    def settings(self) -> Mapping[str, JsonValue]:
        return {"units": self.units, "seed": self.seed}

    def run(self, context: StageContext) -> None:
        done = context.writer.done()
        for unit in range(self.units):
            key = f"unit-{unit}"
            if key not in done:
                texts = [words(self.name, self.seed, unit, row) for row in range(4)]
                context.writer.append("verdicts", verdicts(self.name, texts[:2]), key=key)
                context.writer.append("verdicts", verdicts(self.name, texts[2:]), key=key)
                context.writer.finish_unit(key)
        context.writer.summarise({"rows": context.writer.read("verdicts").collect().height})


@dataclass
class Fit:
    """A directory that grows step by step with its state in scratch, like training."""

    name: str
    needs: Sequence[str]
    artifact: str
    kind: str = "fit"

    def settings(self) -> Mapping[str, JsonValue]:
        return {"artifact": self.artifact}

    def run(self, context: StageContext) -> None:
        state = context.writer.scratch() / "state.json"
        step, loss = json.loads(state.read_text()) if state.exists() else (0, "")
        texts = [
            text
            for need in self.needs
            for text in context.inputs.frame(need, "verdicts").collect()["detail"].to_list()
        ]
        while step < 3:
            step, loss = step + 1, words(loss, step, *texts)
            half = state.with_suffix(".tmp")
            half.write_text(json.dumps([step, loss]))
            half.replace(state)
        model = context.writer.artifact(self.artifact)
        model.mkdir(exist_ok=True)
        (model / "weights").write_text(loss)
        context.writer.append("verdicts", verdicts(self.name, [loss]))


def stages(seed: int, units: int) -> list[Generate | Fit]:
    return [
        Generate("draw", units, 1),
        Generate("late", units, seed),
        Fit("fit-one", ("draw",), "models/one"),
        Fit("fit-two", ("late", "fit-one"), "models/two"),
    ]


def run(directory: Path, seed: int, units: int, kill_at: int | None) -> None:
    """Run to the end, or die at the ``kill_at``-th change to the run directory."""
    count = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event not in CHANGES or str(directory) not in str(arguments[0]):
            return
        if event == "open" and arguments[1] in ("r", "rb"):
            return
        count += 1
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    if kill_at is not None:
        sys.addaudithook(hook)
    Pipeline(RECIPE, Registry(), stages(seed, units), Console(quiet=True)).run(directory)


def serve() -> None:
    """For each line ``directory seed units kill_at``: run in a child, answer how it ended."""
    gc.freeze()  # a child that collects garbage would copy all memory
    for line in sys.stdin:
        directory, seed, units, kill_at = json.loads(line)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                run(Path(directory), seed, units, kill_at)
                code = 0
            finally:
                sys.stderr.flush()
                os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


class Server:
    """Forks a fresh process for each run, so that a start costs milliseconds."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
                "POLARS_MAX_THREADS": "1",  # of four rows
            },
        )

    def run(self, directory: Path, seed: int, units: int, kill_at: int | None = None) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps([str(directory), seed, units, kill_at]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.communicate()
        assert self.process.returncode == 0


TIMES = ("started", "finished", "seconds", "checksum")


def result(directory: Path) -> dict[str, object]:
    """All that a run leaves: every file of rows and artifacts by its bytes, manifests but for their times."""
    found: dict[str, object] = {}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.name == "manifest.json":
            manifest = json.loads(path.read_bytes())
            found[name] = {key: value for key, value in manifest.items() if key not in TIMES}
        elif path.is_file() and path.name not in (
            "stage.json",
            "progress.jsonl",
            "events.jsonl",
            "run.json",
            ".lock",
            "verified.jsonl",
        ):
            found[name] = path.read_bytes()
    return found


def current(directory: Path) -> dict[str, object]:
    """As ``result``, without what is superseded."""
    return {name: value for name, value in result(directory).items() if not name.startswith("superseded/")}


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory."""
    with in_memory() as place:
        yield place


def test_killed_at_every_change_to_the_disk(tmp_path: Path) -> None:
    with Server() as server:
        assert server.run(tmp_path / "whole", 2, 2) == 0
        whole = result(tmp_path / "whole")
        assert len([name for name in whole if name.endswith(".parquet")]) == 10
        kill_at = 0
        while True:
            kill_at += 1
            place = tmp_path / f"killed-{kill_at}"
            ended = server.run(place, 2, 2, kill_at)
            if ended == 0:
                break
            assert ended == -signal.SIGKILL
            assert server.run(place, 2, 2) == 0
            assert result(place) == whole, f"killed at change {kill_at}"
        assert kill_at > 100


def test_killed_while_a_changed_setting_is_taken_in(tmp_path: Path) -> None:
    with Server() as server:
        for name, seed in (("old", 2), ("new", 3)):
            assert server.run(tmp_path / name, seed, 1) == 0
        old, new = current(tmp_path / "old"), current(tmp_path / "new")
        assert old != new
        kill_at = -1
        while True:
            kill_at += 2
            place = tmp_path / f"killed-{kill_at}"
            shutil.copytree(tmp_path / "old", place)
            ended = server.run(place, 3, 1, kill_at)
            if ended == 0:
                break
            assert ended == -signal.SIGKILL
            # Half of the kills: the setting comes back before the new one was taken in whole.
            for seed, wanted in ((3, new), (2, old)) if kill_at % 4 == 1 else ((2, old), (3, new)):
                assert server.run(place, seed, 1) == 0
                assert current(place) == wanted, f"killed at change {kill_at}, then seed {seed}"
        assert kill_at > 50


if __name__ == "__main__":
    serve()
