"""Following the processes of a training: their steps, and the error of the one that stopped it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from dasd.api import (
    BackendError,
    DasdError,
    InputError,
    PluginError,
    RecipeError,
    SchemaError,
    TrainingError,
    TrainSpec,
    read_json,
)
from dasd_deepspeed.job import Files
from dasd_deepspeed.launch import Started, pause
from dasd_deepspeed.watch import BEAT_SECONDS
from dasd_deepspeed.worker import parse

__all__ = ["follow", "wait"]

_STOP_SECONDS = 120.0
"""Time for a step and a state to be written after Ctrl-C; a second Ctrl-C ends it at once."""
_OTHERS_SECONDS = 5.0
"""How long others are waited for when a process fails without an error of dasd's: theirs may be the cause."""
_END = 1 << 16
"""Bytes at the end of a log that are looked at."""
_ERRORS = {
    error.__name__: error for error in (InputError, PluginError, RecipeError, SchemaError, TrainingError)
}


def follow(
    started: Sequence[Started], files: Files, spec: TrainSpec, told: Callable[[], None]
) -> dict[str, Any]:
    """Pass steps on until the training is done, ``told`` after each. Raises what has stopped it."""
    done: dict[str, Any] | None = None
    rest: list[str] = []
    beat = 0.0
    with files.progress.open(encoding="utf-8") as progress:
        while True:
            ends = [_end(each) for each in started]
            if time.monotonic() - beat > BEAT_SECONDS:
                beat = time.monotonic()
                files.heartbeat.write_text(repr(beat))
            for line in _new_lines(progress, rest):
                step, said = parse(line)
                done = said or done
                if step is not None:
                    spec.on_step(step)
                    told()
            if any(end not in (None, 0) for end in ends):
                raise _failure(started, files, spec)
            if all(end == 0 for end in ends):
                if done is None:
                    raise _ended(started[0], "with exit code 0 before it was done", files, spec)
                return done
            pause()


def wait(started: Sequence[Started]) -> None:
    """Until all have ended, after they were told to; two minutes at most."""
    until = time.monotonic() + _STOP_SECONDS
    while any(_end(each) is None for each in started) and time.monotonic() < until:
        pause()


def _end(started: Started) -> int | str | None:
    """Exit code of a process; in words, where its host is lost."""
    try:
        return started.process.poll()
    except BackendError as error:
        return str(error)


def _failure(started: Sequence[Started], files: Files, spec: TrainSpec) -> DasdError:
    """The error of the process that is the cause; of one that couldn't say why, the end of its log.

    Where one is lost or killed the others fail too, as their connections end, and may say so before it is seen.
    """
    seen: dict[int, int | str] = {}
    until = time.monotonic() + _OTHERS_SECONDS
    while True:
        for number, each in enumerate(started):
            end = _end(each)
            if end not in (None, 0) and number not in seen:
                seen[number] = end
        reports = [(path, read_json(path)) for path in files.errors()]
        for _, report in reports:
            if report["kind"] in _ERRORS:
                return _ERRORS[report["kind"]](report["message"])
            if report["kind"] == "DiskFullError":
                from dasd.api.training import disk_full

                return disk_full(spec.state, None)
        lost = next((n for n, end in seen.items() if isinstance(end, str)), None)
        if lost is not None:
            return _ended(started[lost], f"as {seen[lost]}", files, spec)
        # One that aborts (-6) may do so because another one is gone.
        killed = next(
            (n for n, end in seen.items() if isinstance(end, int) and -signal.SIGABRT != end < 0), None
        )
        if len(seen) == len(started) or time.monotonic() > until:
            break
        if killed is not None and not started[killed].host:
            break
        pause()
    if killed is not None:
        return _ended(started[killed], f"with exit code {seen[killed]}", files, spec)
    for path, report in reports:
        rank = path.name.split(".")[0].removeprefix("rank-")
        of = next((each for each in started if str(each.rank) == rank), Started(rank, started[0].process))
        return _ended(of, f"with {report['kind']}: {report['message']}", files, spec)
    first = next(iter(seen))
    return _ended(started[first], f"with exit code {seen[first]}", files, spec)


def _ended(started: Started, how: str, files: Files, spec: TrainSpec) -> TrainingError:
    log = files.log(started.rank)
    if not log.exists():
        log = files.log("launcher")
    return TrainingError(
        f"training {spec.stage!r}: {started} ended {how}. The last saved state is kept; the same command "
        f"goes on from it. The end of its log, {log}:\n{_last_lines(log)}"
    )


def _last_lines(log: Path, count: int = 15) -> str:
    """The end of a log that says something."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - _END))
        text = file.read().decode("utf-8", "replace")
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-count:])


def _new_lines(file: IO[str], rest: list[str]) -> Iterator[str]:
    """Whole lines that have come to ``file``; the begun one waits in ``rest``."""
    rest.append(file.read())
    *whole, begun = "".join(rest).split("\n")
    rest[:] = [begun]
    yield from whole
