"""Runs on a real cluster of several nodes: the same rows as on one machine, whatever dies on the way."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

import dasd
from conftest import PATIENCE, Nodes, descendants, processes, recipe, running, within
from dasd.errors import BackendError
from dasd.pipeline.runner import Pipeline

FRAMES = ("samples", "verdicts", "scores", "eval")


def run(directory: Path, made: Mapping[str, Any], until: str) -> dasd.Run:
    return Pipeline.from_recipe(made).run(directory, until=until)


def same(found: dasd.Run, whole: dasd.Run, frames: tuple[str, ...] = FRAMES) -> bool:
    """Whether all rows are the same to the last bit; what an answer took is no part of them."""

    def rows(of: dasd.Run, frame: str) -> pl.DataFrame:
        return of.frame(frame, with_stage=True).collect().drop("seconds", strict=False)

    return all(rows(found, frame).equals(rows(whole, frame)) for frame in frames)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dasd.Run:
    """On this machine alone."""
    return run(tmp_path_factory.mktemp("local"), recipe(None), "evaluate-before")


LARGE: dict[str, Any] = {"questions": {"train": [{"source": "miniature", "count": 96}]}}
"""Twenty-four units: long enough that something can happen meanwhile."""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> dasd.Run:
    """Samples, on this machine alone."""
    return run(tmp_path_factory.mktemp("large"), recipe(None, **LARGE), "sample-low")


def during(start: Callable[[], dasd.Run], happens: Callable[[], None]) -> dasd.Run:
    """A run, in another thread, while something happens: Ray's nodes are started in the main one."""
    with ThreadPoolExecutor(1) as thread:
        run = thread.submit(start)
        happens()
        return run.result()


@contextmanager
def stopped(pids: Callable[[], list[int]]) -> Iterator[Callable[[], None]]:
    """Gives what stops the processes that are there now; all go on behind the block."""
    held: set[int] = set()

    def stop() -> None:
        for pid in pids():
            held.add(pid)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    try:
        yield stop
    finally:
        for pid in held:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def working(*among: Any) -> tuple[Any, int]:
    """A node whose replica is asked, and that replica's process id."""

    def found() -> list[tuple[Any, int]]:
        return [(node, pid) for node in among for pid in processes(node, "step")]

    return random.choice(within(PATIENCE, found, "a replica that works"))  # type: ignore[no-any-return]


def parts(directory: Path) -> int:
    """Units that are written."""
    return len(list(directory.glob("stages/*-sample-low/part-samples-*")))


def test_a_run_on_a_cluster_is_the_run_on_one_machine(nodes: Nodes, whole: dasd.Run, tmp_path: Path) -> None:
    nodes.have(2)
    found = run(tmp_path, recipe(nodes.address), "evaluate-before")
    assert same(found, whole)
    # It goes on here, and is not done again.
    standing = Pipeline.from_recipe(recipe(None)).plan(tmp_path)
    assert {stage.state for stage in standing[:7]} == {"done"}


def test_replicas_and_a_node_die_and_another_node_joins(
    nodes: Nodes, large: dasd.Run, tmp_path: Path
) -> None:
    """At moments drawn at random; whoever dies had part of a list, which another replica gets from its start."""
    first, second = nodes.have(2)
    draw = random.Random()

    def happens() -> None:
        one, two, three = draw.randrange(1, 4), draw.randrange(4, 7), draw.randrange(8, 12)
        within(PATIENCE, lambda: parts(tmp_path) >= one, "a unit")
        os.kill(working(first, second)[1], signal.SIGKILL)
        within(PATIENCE, lambda: parts(tmp_path) >= two, "a unit")
        joined = nodes.add()
        with stopped(
            lambda: [*processes(first), *processes(second)]
        ) as stop:  # else they might be done before
            within(PATIENCE, lambda: stop() or processes(joined), "a replica on the node that joined")
        within(PATIENCE, lambda: parts(tmp_path) >= three, "a unit")
        nodes.kill(working(first, second)[0])

    found = during(
        lambda: run(tmp_path, recipe(nodes.address, {"retries": 8}, **LARGE), "sample-low"), happens
    )
    assert same(found, large, ("samples",))


def test_a_node_that_stands_still_for_a_while_holds_nobody_up(
    nodes: Nodes, large: dasd.Run, tmp_path: Path
) -> None:
    both = nodes.have(2)

    def happens() -> None:
        within(PATIENCE, lambda: parts(tmp_path) >= 1, "a unit")
        _, pid = working(*both)
        with stopped(lambda: [pid]) as stop:
            stop()
            # The units behind its own wait in scratch, whole.
            waiting = "stages/*-sample-low/scratch/under-way/*.parquet"
            within(PATIENCE, lambda: len(list(tmp_path.glob(waiting))) > 4, "other units")

    found = during(lambda: run(tmp_path, recipe(nodes.address, **LARGE), "sample-low"), happens)
    assert same(found, large, ("samples",))


def test_what_dies_too_often_ends_the_run_which_then_goes_on(
    nodes: Nodes, large: dasd.Run, tmp_path: Path
) -> None:
    nodes.have(1)

    def happens() -> None:
        within(PATIENCE, lambda: parts(tmp_path) >= 1, "a unit")
        os.kill(working(*nodes.all)[1], signal.SIGKILL)

    told = r"the first of them sample .* lost their replica 1 times.*finished is kept"
    with pytest.raises(BackendError, match=told):
        during(lambda: run(tmp_path, recipe(nodes.address, {"retries": 0}, **LARGE), "sample-low"), happens)
    assert same(run(tmp_path, recipe(None, **LARGE), "sample-low"), large, ("samples",))


def test_an_engine_that_is_kept_full_streams_to_all_replicas(nodes: Nodes, tmp_path: Path) -> None:
    """One replica dies with requests under way; those alone are asked again."""
    both = nodes.have(2)
    changes = recipe(None)
    changes["teacher"]["backend"] = "apart"
    alone = run(tmp_path / "alone", changes, "sample-low")
    changes = recipe(nodes.address)
    changes["teacher"]["backend"] = "apart"

    def happens() -> None:
        within(PATIENCE, lambda: parts(tmp_path / "ray") >= 1, "a unit")
        os.kill(working(*both)[1], signal.SIGKILL)

    found = during(lambda: run(tmp_path / "ray", changes, "sample-low"), happens)
    assert same(found, alone, ("samples",))


def pipeline(directory: Path) -> list[str]:
    """The command that runs the recipe in ``directory``."""
    recipe_file, run = str(directory / "recipe.yaml"), str(directory / "run")
    return [sys.executable, "-m", "dasd", "pipeline", recipe_file, "--run", run]


def test_a_killed_driver_goes_on_with_the_same_command(nodes: Nodes, large: dasd.Run, tmp_path: Path) -> None:
    nodes.have(2)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe(nodes.address, **LARGE)))
    command = pipeline(tmp_path)
    command += ["--until", "sample-low"]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        within(PATIENCE, lambda: parts(tmp_path / "run") >= 3, "a unit")
    finally:
        driver.kill()
        driver.wait()
    within(PATIENCE, lambda: not any(map(processes, nodes.all)), "the end of its replicas")
    assert 0 < parts(tmp_path / "run") < 24
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert same(dasd.Run.open(tmp_path / "run"), large, ("samples",))
    assert not any(map(processes, nodes.all))


IMPATIENT = """
import sys
import dasd_ray.head
dasd_ray.head.LOST_SECONDS = 3.0
from dasd.__main__ import main
sys.exit(main())
"""
"""The command, in a Python that takes a silent head for lost sooner."""


def test_a_run_that_loses_the_head_says_so_and_goes_on_with_another(
    nodes: Nodes, large: dasd.Run, tmp_path: Path
) -> None:
    own = Nodes()
    try:
        (node,) = own.have(1)
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe(own.address, **LARGE)))
        words = [*pipeline(tmp_path)[3:], "--until", "sample-low"]
        driver = subprocess.Popen(
            [sys.executable, "-c", IMPATIENT, *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            within(PATIENCE, lambda: parts(tmp_path / "run") >= 1, "a unit")
            replicas = processes(node)
            own.kill_head()
            _, told = driver.communicate(timeout=PATIENCE)
        finally:
            driver.kill()
            driver.wait()
        assert driver.returncode == 1, told
        assert f"the head of the Ray cluster, {own.address}, hasn't answered" in told
        assert "What is finished is kept" in told and "Traceback" not in told
        assert replicas
        within(PATIENCE, lambda: not any(map(running, replicas)), "the end of its replicas")
    finally:
        own.shutdown()
    assert 0 < parts(tmp_path / "run") < 24
    nodes.have(2)
    assert same(run(tmp_path / "run", recipe(nodes.address, **LARGE), "sample-low"), large, ("samples",))


def test_ctrl_c_ends_the_replicas_and_the_ray_that_the_run_started(tmp_path: Path) -> None:
    made = recipe(None, **LARGE, plugins=["ray"], executor={"executor": "ray"})
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(made))
    command = pipeline(tmp_path)
    # A shell that starts jobs in the background has them ignore it.
    driver = subprocess.Popen(
        ["env", "--default-signal=INT", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        within(PATIENCE, lambda: parts(tmp_path / "run") >= 2, "a unit")
        started = descendants(driver.pid)
        assert len(started) > 3
        driver.send_signal(signal.SIGINT)
        _, told = driver.communicate(timeout=PATIENCE)
    finally:
        driver.kill()
        driver.wait()
    assert driver.returncode == 130, told
    assert "Traceback" not in told
    within(PATIENCE, lambda: not any(map(running, started)), "the end of what it started")
