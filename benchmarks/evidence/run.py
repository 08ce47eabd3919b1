"""Runs the suite: two processes at a time, what is done is skipped, progress by cell."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from benchmarks.evidence.arms import ARMS, Arm
from benchmarks.evidence.cells import finished, run_cell
from benchmarks.evidence.hypotheses import HYPOTHESES
from benchmarks.evidence.models import learned
from benchmarks.evidence.places import Place
from benchmarks.evidence.pool import prepare
from benchmarks.evidence.running import QuietConsole
from benchmarks.evidence.scale import Scale
from benchmarks.evidence.worlds import AUTHORS, WORLDS, Author
from dasd.base.progress import Console, human_seconds
from dasd.errors import StoreError

__all__ = ["Job", "jobs", "next_job", "run_suite"]

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
}


@dataclass(frozen=True, slots=True)
class Job:
    """A cell, or with ``arm`` None what all cells of its world and seed need first: ``author``'s model, or the pool."""

    place: Place
    arm: Arm | None
    budget: str
    author: Author | None = None

    @property
    def label(self) -> str:
        """For people."""
        what = (self.author or "pool") if self.arm is None else f"{self.arm.name}@{self.budget}"
        return f"{self.place.world} seed {self.place.seed}: {what}"

    def done(self) -> bool:
        """Whether its result is there."""
        if self.author is not None:
            return self.place.model(self.author).is_dir()
        if self.arm is None:
            return self.place.prepared.is_file()
        return finished(self.place, self.arm, self.budget) is not None


def jobs(
    directory: Path,
    scale: Scale,
    worlds: Sequence[str] = (),
    arms: Sequence[str] = (),
    seeds: Sequence[int] = (),
) -> list[Job]:
    """All jobs in the order in which they start.

    What the tested hypotheses need comes first, seed by seed; then the rest arm by arm, the longest budgets last: an
    early stop leaves whole tests and whole arms. Where the scale says so, everything arm by arm.
    """
    needed = {(name, each.budget) for each in HYPOTHESES if each.tested for name in (each.arm, each.than)}
    first: list[Job] = []
    rest: list[Job] = []
    for seed in seeds or scale.seeds:
        for world in worlds or scale.worlds:
            place = Place(directory, world, seed)
            first += [Job(place, None, "", author) for author in (*AUTHORS, None)]
            for arm in ARMS:
                if arm.name not in arms if arms else not scale.takes(arm):
                    continue
                budgets = [each for each in scale.budgets_of(arm) if each in scale.steps] or list(scale.steps)
                for budget in (each for each in budgets if scale.has(world, arm, each)):
                    (first if (arm.name, budget) in needed else rest).append(Job(place, arm, budget))
    order = {arm.name: number for number, arm in enumerate(ARMS)}
    if scale.by_arm:
        return sorted(first + rest, key=lambda job: -1 if job.arm is None else order[job.arm.name])
    longest = max(scale.steps, key=lambda budget: scale.steps[budget])
    return first + sorted(
        rest, key=lambda job: (job.budget == longest, order[job.arm.name] if job.arm else -1)
    )


def run_suite(
    todo: Sequence[Job], scale: Scale, processes: int, console: Console, *, keep: bool = False
) -> None:
    """Do what isn't done yet. Raises what a cell raises, after those that run beside it have ended."""
    waiting = [job for job in todo if not job.done()]
    console.info(f"{len(todo) - len(waiting)} of {len(todo)} jobs are done; {len(waiting)} to do")
    os.environ.update(ONE_THREAD)
    running: dict[Future[None], tuple[Job, float]] = {}
    count = 0
    begun = time.monotonic()
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, context, initializer=_start_worker)
    try:
        while waiting or running:
            while len(running) < processes and (job := next_job(waiting)) is not None:
                waiting.remove(job)
                running[pool.submit(_work, job, scale, keep)] = (job, time.monotonic())
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                future.result()
                job, start = running.pop(future)
                count += 1
                left = (time.monotonic() - begun) / count * (len(waiting) + len(running))
                console.info(
                    f"{job.label}: {human_seconds(time.monotonic() - start)}; {len(waiting) + len(running)} jobs "
                    f"left, about {human_seconds(left)}"
                )
    except BrokenProcessPool as error:
        labels = " or ".join(job.label for job, _ in running.values())
        raise StoreError(
            f"a worker process was killed in {labels}, often because memory ran out; the same command goes on"
        ) from error
    except BaseException:
        # Ctrl-C: the terminal tells the workers too; otherwise they finish what they do and start nothing else.
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    pool.shutdown()


def next_job(waiting: Sequence[Job]) -> Job | None:
    """The first job that has what it needs: a cell the pool, the pool both models and the pool that it takes."""
    for job in waiting:
        place = job.place
        source = WORLDS[place.world].pool_of
        if source is not None and not place.of(source).prepared.is_file():
            continue
        learned = all(place.model(author).is_dir() for author in AUTHORS)
        if job.author or (learned if job.arm is None else place.prepared.is_file()):
            return job
    return None


def _start_worker() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(1)


def _end_with_parent() -> None:
    """Stop the worker's cell when the suite's own process is gone, however it ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


def _work(job: Job, scale: Scale, keep: bool) -> None:
    world = WORLDS[job.place.world]
    try:
        if job.author is not None:
            learned(world, job.place, job.author, scale, QuietConsole())
        elif job.arm is None:
            prepare(world, job.place, scale)
        else:
            run_cell(world, job.place, scale, job.arm, job.budget, keep=keep)
    except KeyboardInterrupt:
        # The pool's loop would catch it and wait for the next job, also when nobody is left to give one.
        os._exit(130)
