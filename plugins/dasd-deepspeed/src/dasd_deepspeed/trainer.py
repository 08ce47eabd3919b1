"""The trainer as the host calls it: checks, starts processes, passes their progress on, brings errors back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

from dasd.api import Checkpoint, HostsWanted, InputError, RecipeError, TrainerSettings, TrainSpec
from dasd_deepspeed.follow import follow, wait
from dasd_deepspeed.job import Files, Job
from dasd_deepspeed.launch import Started, answer, processes, start_on
from dasd_deepspeed.options import DeepSpeedOptions, options_of
from dasd_deepspeed.watch import GO_ON, STOP


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
        files = Files(spec.state.absolute())
        files.directory.mkdir(parents=True, exist_ok=True)
        files.clear()
        files.progress.touch()
        with ExitStack() as ends:
            started, told = _started(options, files, spec, partial(Job, tuple(shards), spec, resume), ends)
            try:
                done = follow(started, files, spec, lambda: told(GO_ON))
            except KeyboardInterrupt:
                if files.progress.stat().st_size:  # else there is nothing to save yet
                    files.stop.touch()
                    told(STOP)
                    wait(started)
                raise
        return Checkpoint(path=spec.output, **done)


def _started(
    options: DeepSpeedOptions, files: Files, spec: TrainSpec, job: Callable[[str, str], Job], ends: ExitStack
) -> tuple[list[Started], Callable[[bytes], None]]:
    """The processes, which end with ``ends``, and what answers rank 0; ``job`` takes a device and a watch."""
    if options.hosts is None:
        device, count = _where(options, spec.settings)
        here = options.hostfile is None
        job(device, "answers" if here else "heartbeat").write()
        started, stdin = ends.enter_context(processes(options, files, count, device))
        return started, partial(answer, stdin) if here else _unanswered
    if spec.hosts is None:
        raise InputError(
            f"trainer.options.hosts: {options.hosts} hosts of an executor are wanted, and this training has none; take "
            "the key out, or name hosts in hostfile"
        )
    shared = [files.token(), *sorted(path for path in spec.model.absolute().iterdir() if path.is_file())]
    hosts = spec.hosts(HostsWanted(options.hosts, options.processes, spec.settings.device, shared))
    ends.enter_context(closing(hosts))
    job(hosts.device, "stdin").write()
    return start_on(hosts, options, files), _unanswered


def _unanswered(word: bytes) -> None:
    """Processes elsewhere look for the file ``stop`` alone."""
    del word


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
