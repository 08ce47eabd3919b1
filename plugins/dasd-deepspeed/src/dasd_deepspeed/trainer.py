"""The trainer as the host calls it: checks, starts processes, passes their progress on, brings errors back."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dasd.api import (
    Checkpoint,
    DasdError,
    InputError,
    PluginError,
    RecipeError,
    SchemaError,
    TrainerSettings,
    TrainingError,
    TrainSpec,
    read_json,
)
from dasd_deepspeed.job import Files, Job
from dasd_deepspeed.launch import answer, last_lines, new_lines, pause, processes
from dasd_deepspeed.options import DeepSpeedOptions, options_of
from dasd_deepspeed.watch import BEAT_SECONDS, GO_ON, STOP
from dasd_deepspeed.worker import parse

_STOP_SECONDS = 120.0
"""Time for a step and a state to be written after Ctrl-C; a second Ctrl-C ends it at once."""
_ERRORS = {
    error.__name__: error for error in (InputError, PluginError, RecipeError, SchemaError, TrainingError)
}


class DeepSpeedTrainer:
    """Fine-tuning with DeepSpeed in processes of its own (``api.Trainer``): all weights, or an adapter.

    Losses are those of the built-in trainer on the same rows, settings and seed, whatever the number of
    processes, but for the order in which floating-point numbers are added.
    """

    def __init__(self, settings: TrainerSettings) -> None:
        """``settings``: checked here as far as they can be without the data. Raises RecipeError."""
        options_of(settings)
        if settings.device not in ("auto", "cpu", "cuda"):
            raise RecipeError(
                f"trainer.device {settings.device!r}: trainer 'deepspeed' wants auto, cpu or cuda; it gives "
                "each process a GPU of its own (CUDA_VISIBLE_DEVICES chooses which)"
            )

    def train(self, shards: Sequence[Path], spec: TrainSpec, resume: bool) -> Checkpoint:
        """Train and leave the model in ``spec.output``, with every step's loss in ``losses.parquet`` there.

        A state is saved to ``spec.state`` every ``save_every`` steps, after the last, and on Ctrl-C. With
        ``resume`` it is gone on from, if it belongs to this very training; the number of processes and the
        ZeRO stage may be others. Logs of the processes lie in ``spec.state``. Raises TrainingError for a loss
        or gradient that isn't finite and for a process that ends early, InputError for a start model that
        can't be trained, DiskFullError.
        """
        options = options_of(spec.settings)
        device, count = _where(options, spec.settings)
        files = Files(spec.state.absolute())
        files.directory.mkdir(parents=True, exist_ok=True)
        files.clear()
        watch = "stdin" if options.hostfile is None else "heartbeat"
        Job(tuple(shards), spec, resume, device, watch).write()
        files.progress.touch()
        with processes(options, files, count, device) as started:
            try:
                done = _follow(started, files, spec, local=options.hostfile is None)
            except KeyboardInterrupt:
                if files.progress.stat().st_size:  # else there is nothing to save yet
                    files.stop.touch()
                    if options.hostfile is None:
                        answer(started[0], STOP)
                    _wait(started)
                raise
        return Checkpoint(path=spec.output, **done)


def _where(options: DeepSpeedOptions, settings: TrainerSettings) -> tuple[str, int]:
    """Kind of device, and the number of processes on this host."""
    import torch

    if options.hostfile is not None and not Path(options.hostfile).is_file():
        raise InputError(
            f"trainer.options.hostfile: {options.hostfile} isn't a file; wanted one with a line "
            "`HOST slots=N` for every host"
        )
    gpus = torch.cuda.device_count()
    device = ("cuda" if gpus else "cpu") if settings.device == "auto" else settings.device
    if device == "cpu":
        return device, options.processes or 1
    if options.hostfile is None and not 0 < (options.processes or 1) <= gpus:
        raise InputError(
            f"trainer.options.processes: wanted at most one process a GPU; got {options.processes or 1} "
            f"for {gpus} GPUs"
        )
    return device, options.processes or gpus


def _follow(
    started: Sequence[subprocess.Popen[bytes]], files: Files, spec: TrainSpec, *, local: bool
) -> dict[str, Any]:
    """Pass steps on until the training is done. Raises what has stopped it."""
    done: dict[str, Any] | None = None
    rest: list[str] = []
    beat = 0.0
    with files.progress.open(encoding="utf-8") as progress:
        while True:
            codes = [process.poll() for process in started]
            if time.monotonic() - beat > BEAT_SECONDS:
                beat = time.monotonic()
                files.heartbeat.write_text(repr(beat))
            for line in new_lines(progress, rest):
                step, said = parse(line)
                done = said or done
                if step is not None:
                    spec.on_step(step)
                    if local:
                        answer(started[0], GO_ON)
            failed = [rank for rank, code in enumerate(codes) if code not in (None, 0)]
            if failed:
                raise _failure(files, failed[0], codes[failed[0]], spec)
            if all(code == 0 for code in codes):
                if done is None:
                    raise _failure(files, 0, 0, spec)
                return done
            pause()


def _failure(files: Files, rank: int, code: int | None, spec: TrainSpec) -> DasdError:
    """The error of the process that failed first; of one that couldn't say why, the end of its log."""
    for path in files.errors():
        report = read_json(path)
        kind, message = report["kind"], report["message"]
        if kind in _ERRORS:
            return _ERRORS[kind](message)
        if kind == "DiskFullError":
            from dasd.api.training import disk_full

            return disk_full(spec.state, None)
        rank_name = path.name.split(".")[0].removeprefix("rank-")
        return _ended(files, rank_name, f"with {kind}: {message}", spec)
    log = "launcher" if files.log("launcher").exists() else str(rank)
    return _ended(files, log, f"with exit code {code}", spec)


def _ended(files: Files, rank: str, how: str, spec: TrainSpec) -> TrainingError:
    log = files.log(rank) if files.log(rank).exists() else files.log("launcher")
    return TrainingError(
        f"training {spec.stage!r}: process {rank} ended {how}. The last saved state is kept; the same command "
        f"goes on from it. The end of its log, {log}:\n{last_lines(log)}"
    )


def _wait(started: Sequence[subprocess.Popen[bytes]]) -> None:
    until = time.monotonic() + _STOP_SECONDS
    while any(process.poll() is None for process in started) and time.monotonic() < until:
        pause()
