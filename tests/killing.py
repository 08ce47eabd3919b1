"""Kills commands at chosen moments and holds what is left against a run that nobody killed."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.launcher import Launcher, Watch, state


@dataclass(frozen=True)
class Moment:
    """When and how to kill."""

    stage: str
    """Directory name of a stage."""
    change: int
    """Which change to the run directory since the stage's first, from 1."""
    seconds: float
    """Processor time from there; 0: right before that change."""
    signal: signal.Signals
    target: str = "dasd"
    """``dasd``, or words from a descendant's command line."""


@dataclass(frozen=True)
class Outcome:
    """What a kill came to."""

    moment: Moment
    code: int | None
    hit: bool
    """Whether the target was there to be killed."""


class Timeline:
    """The changes of a whole run, by stage, with the processor time at each."""

    def __init__(self, log: Path) -> None:
        rows = [line.split("\t") for line in log.read_text().splitlines()]
        self._clock = [(stage, float(seconds)) for stage, seconds, _ in rows]
        self.stages = sorted({stage for stage, _ in self._clock if stage})

    def draw(
        self, chance: random.Random, stage: str, with_signal: signal.Signals, target: str = "dasd"
    ) -> Moment:
        """A moment in a stage: by turns of a coin right before a change, or uniform in its processor time."""
        places = [index for index, (name, _) in enumerate(self._clock) if name == stage]
        first, last = places[0], places[-1]
        index, rest = chance.choice(places), 0.0
        if chance.random() < 0.5:
            moment = chance.uniform(self._clock[first][1], self._clock[last][1])
            index = max(place for place in places if self._clock[place][1] <= moment)
            rest = moment - self._clock[index][1]
        return Moment(stage, index - first + 1, rest, with_signal, target)


def kill(launcher: Launcher, arguments: Sequence[object], place: Path, moment: Moment) -> Outcome:
    """Start a command, kill it or a process below it at that moment, and see that it ends as it should."""
    command = launcher.start(arguments, Watch(str(place), None, moment.stage, moment.change))
    if command.wait() is not None:
        assert command.code == 0, command.said
        return Outcome(moment, 0, hit=False)
    own = moment.target == "dasd"
    victim: int | None = command.pid if own else command.find(moment.target)
    if not own or moment.seconds:
        command.go_on()
        while victim is None and state(command.pid) not in ("Z", "X", ""):
            victim = command.find(moment.target)
        if victim is not None:
            _let_work(victim, moment.seconds)
    hit = False
    with suppress(ProcessLookupError, TypeError):
        # Ctrl-C in a terminal reaches the whole group.
        if own and moment.signal == signal.SIGINT:
            os.killpg(victim, moment.signal)  # type: ignore[arg-type]
        else:
            os.kill(victim, moment.signal)  # type: ignore[arg-type]
        hit = True
    with suppress(ProcessLookupError):
        command.go_on()
    command.wait()
    said, code = command.said, command.code
    told = f"{moment}\n{said}"
    if own and moment.signal == signal.SIGINT:
        assert code in (130, 0), f"exit code {code} of {told}"
        assert code == 0 or "continue with the same command" in said, told
        assert "Traceback" not in said, told
    elif own:
        assert code in (-moment.signal, 0), f"exit code {code} of {told}"
    else:
        assert code in (0, 1), f"exit code {code} of {told}"
        assert code == 0 or ("error: " in said and "Traceback" not in said), told
    assert launcher.left_behind() == [], told
    return Outcome(moment, code, hit and (not own or code != 0))


def processor_seconds(pid: int) -> float | None:
    """Processor time that a process has used; None once it is gone."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return None


def _let_work(pid: int, seconds: float) -> None:
    """Until a process has used so much processor time, has ended, or waits for another for long."""
    until = time.monotonic() + 10 * seconds + 0.5
    begun = processor_seconds(pid)
    while begun is not None and time.monotonic() < until:
        now = processor_seconds(pid)
        if now is None or now - begun >= seconds or state(pid) in ("Z", "X", ""):
            return
        time.sleep(0.0005)


TIMES = frozenset({"started", "finished", "seconds", "checksum", "bytes", "inputs"})
"""Keys of records that hold times, or hang on files that do."""
UNCOMPARED = frozenset(
    {"stage.json", "progress.jsonl", "events.jsonl", "run.json", "report.html", ".lock", "verified.jsonl"}
)
"""What tells of starts and times alone; the page is made from report.json."""


def content(directory: Path) -> dict[str, object]:
    """All that a run leaves: rows less their seconds, records less times, all other files by their bytes."""
    found: dict[str, object] = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path.name not in UNCOMPARED:
            found[path.relative_to(directory).as_posix()] = _content(path)
    return found


def _content(path: Path) -> object:
    import polars as pl

    if path.suffix == ".json":
        return _less_times(json.loads(path.read_bytes()))
    if path.suffix == ".parquet":
        rows = pl.read_parquet(path).drop("seconds", strict=False)
        return rows.write_ipc(None).getvalue()
    return path.read_bytes()


def _less_times(value: object) -> object:
    if isinstance(value, dict):
        return {key: _less_times(item) for key, item in value.items() if key not in TIMES}
    return [_less_times(item) for item in value] if isinstance(value, list) else value


def differences(one: Mapping[str, object], other: Mapping[str, object]) -> list[str]:
    """Names of files that are in one only, or differ."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


@dataclass(frozen=True)
class Whole:
    """A run that nobody killed."""

    directory: Path
    content: dict[str, object]
    timeline: Timeline


def run_whole(launcher: Launcher, directory: Path, arguments: Sequence[object]) -> Whole:
    log = directory.with_suffix(".changes")
    done = launcher.run(arguments, watch=Watch(str(directory), str(log), "", None))
    assert done.code == 0, done.said
    return Whole(directory, content(directory), Timeline(log))


def kill_often(
    launcher: Launcher, whole: Whole, place: Path, arguments: Sequence[object], moments: Sequence[Moment]
) -> list[Outcome]:
    """Kill one run at each of the moments, let it end, and hold it against the whole one."""
    ordered = sorted(moments, key=lambda moment: (moment.stage, moment.change, moment.seconds))
    found = [kill(launcher, arguments, place, moment) for moment in ordered]
    done = launcher.run(arguments)
    assert done.code == 0, done.said
    told = "\n".join(map(str, found))
    assert differences(content(place), whole.content) == [], told
    return found


def print_table(outcomes: Sequence[Outcome]) -> None:
    """How often kills of each kind came to what (pytest -s shows it)."""
    rows = Counter(
        (o.moment.stage, o.moment.signal.name, o.moment.target, f"exit {o.code}" if o.hit else "ended before")
        for o in outcomes
    )
    print()
    for row, count in sorted(rows.items()):
        print("  ".join(f"{cell:22}" for cell in row), count)
    print(f"{len(outcomes)} kills, {sum(outcome.hit for outcome in outcomes)} of them of something that ran")
