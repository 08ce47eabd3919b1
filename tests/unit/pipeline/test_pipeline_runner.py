from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pytest
from pydantic import JsonValue
from tests.small_disk import fill, small_disk

from dasd.base.progress import Console
from dasd.errors import ComponentError, DiskFullError, InputError, LockError, StoreError
from dasd.evaluation.sandbox.permission import allow_without_sandbox, without_sandbox
from dasd.pipeline.runner import Pipeline
from dasd.pipeline.work.stage import StageContext
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry
from dasd.store import Run

RECIPE = Recipe.load(
    {
        "name": "runner",
        "teacher": {"model": "dasd:mini-teacher"},
        "student": {"model": "dasd:mini-student"},
        "questions": {"train": [{"source": "miniature"}]},
        "stages": [{"name": "low", "temperature": 0.6}],
    }
)


def verdict(sample_id: str, detail: str) -> pl.DataFrame:
    rows = {"sample_id": [sample_id], "stage": "", "kept": True, "reason": "", "detail": detail}
    return pl.DataFrame(rows)


@dataclass
class Draw:
    """Writes three units of one row; ``hook`` runs before each."""

    name: str = "draw"
    kind: str = "draw"
    needs: Sequence[str] = ()
    salt: str = "x"
    hook: Callable[[int], None] = lambda _: None
    ran: list[str] = field(default_factory=list)

    def settings(self) -> Mapping[str, JsonValue]:
        return {"salt": self.salt}

    def run(self, context: StageContext) -> None:
        for unit in range(3):
            if str(unit) not in context.writer.done():
                self.hook(unit)
                self.ran.append(f"{self.name}-{unit}")
                context.writer.append("verdicts", verdict(f"{self.name}-{unit}", self.salt), key=str(unit))
                context.writer.finish_unit(str(unit))
        context.writer.summarise({"units": 3})


@dataclass
class Gather:
    """Writes an artifact and a row made of all rows that it needs."""

    name: str
    needs: Sequence[str]
    kind: str = "gather"
    ran: list[str] = field(default_factory=list)

    def settings(self) -> Mapping[str, JsonValue]:
        return {}

    def run(self, context: StageContext) -> None:
        self.ran.append(self.name)
        details = [
            text
            for need in self.needs
            for text in context.inputs.frame(need, "verdicts").collect()["detail"].to_list()
        ]
        context.writer.append("verdicts", verdict(self.name, "+".join(details)))
        context.writer.artifact(f"out/{self.name}.txt").write_text("+".join(details))


class Graph:
    """draw -> one -> two, and the list of what did work."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ran: list[str] = []
        self.observed: list[tuple[str, dict[str, object]]] = []

    def pipeline(self, salt: str = "x", hook: Callable[[int], None] = lambda _: None) -> Pipeline:
        self.ran.clear()
        stages = [
            Draw(salt=salt, hook=hook, ran=self.ran),
            Gather("one", ("draw",), ran=self.ran),
            Gather("two", ("one",), kind="last", ran=self.ran),
        ]
        return Pipeline(RECIPE, Registry(), stages, Console(), self.observe)

    def observe(self, hook: str, **arguments: object) -> None:
        self.observed.append((hook, arguments))

    def states(self, salt: str = "x") -> list[str]:
        return [line.state for line in self.pipeline(salt).plan(self.path)]

    def kinds(self) -> list[str]:
        return [event.kind for event in Run.open(self.path).events()]


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    return Graph(tmp_path / "run")


UNITS = ["draw-0", "draw-1", "draw-2"]


def test_a_run_and_the_same_again(graph: Graph, capsys: pytest.CaptureFixture[str]) -> None:
    assert graph.states() == ["new", "new", "new"]
    run = graph.pipeline().run(graph.path)
    assert graph.ran == [*UNITS, "one", "two"]
    assert run.frame("verdicts", "two").collect()["detail"].to_list() == ["x+x+x"]
    assert run.summary("draw") == {"units": 3}
    assert run.settings == RECIPE.settings
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.rpartition(",")[0] for line in err.splitlines()] == [
        "[1/3] draw: 3 verdicts",
        "[2/3] one: 1 verdicts",
        "[3/3] two: 1 verdicts",
    ]
    assert graph.states() == ["done", "done", "done"]
    graph.pipeline().run(graph.path)
    assert graph.ran == []
    assert capsys.readouterr().err.splitlines()[0] == "[1/3] draw: 3 verdicts, done before"


def test_a_changed_setting_runs_that_stage_and_those_after_it(
    graph: Graph, capsys: pytest.CaptureFixture[str]
) -> None:
    graph.pipeline().run(graph.path)
    assert graph.states("y") == ["changed", "changed", "changed"]
    capsys.readouterr()
    graph.pipeline("y").run(graph.path)
    assert graph.ran == [*UNITS, "one", "two"]
    assert "draw no longer fits the recipe; its result is kept in" in capsys.readouterr().err
    graph.pipeline("x").run(graph.path)
    assert graph.ran == []
    assert (graph.path / "out" / "two.txt").read_text() == "x+x+x"


def test_plan_changes_nothing(graph: Graph) -> None:
    graph.pipeline().run(graph.path)
    before = {path: path.stat().st_mtime_ns for path in graph.path.rglob("*")}
    assert graph.states("y") == ["changed", "changed", "changed"]
    assert {path: path.stat().st_mtime_ns for path in graph.path.rglob("*")} == before


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("broken")])
def test_an_interruption_leaves_a_run_that_goes_on(graph: Graph, error: BaseException) -> None:
    def stop(unit: int) -> None:
        if unit == 2:
            raise error

    with pytest.raises(type(error)):
        graph.pipeline(hook=stop).run(graph.path)
    assert graph.states() == ["partial", "new", "new"]
    ended = "stage_interrupted" if isinstance(error, KeyboardInterrupt) else "stage_failed"
    assert graph.kinds() == ["run_started", "stage_started", ended]
    graph.pipeline().run(graph.path)  # the lock is free
    assert graph.ran == ["draw-2", "one", "two"]
    assert graph.states() == ["done", "done", "done"]


@pytest.mark.parametrize(
    ("error", "kept"),
    [(ComponentError("theirs"), True), (ValueError("ours"), True), (InputError("told"), False)],
)
def test_the_events_keep_the_traceback_of_code_at_fault(graph: Graph, error: Exception, kept: bool) -> None:
    def stop(_: int) -> None:
        raise error

    with pytest.raises(type(error)):
        graph.pipeline(hook=stop).run(graph.path)
    (failed,) = [event for event in Run.open(graph.path).events() if event.kind == "stage_failed"]
    assert ("traceback" in failed.fields) is kept
    assert not kept or "in stop" in str(failed.fields["traceback"])


def test_until_a_name_or_the_last_of_a_kind(graph: Graph) -> None:
    graph.pipeline().run(graph.path, until="draw")
    assert graph.ran == UNITS
    graph.pipeline().run(graph.path, until="gather")
    assert graph.ran == ["one"]
    with pytest.raises(
        InputError, match=r"no stage 'gahter'; did you mean 'gather'\? Stages: draw, one, two"
    ):
        graph.pipeline().run(graph.path, until="gahter")


def test_only(graph: Graph) -> None:
    with pytest.raises(
        InputError, match="two needs one, which is not done; run `dasd gather` first"
    ) as caught:
        graph.pipeline().run(graph.path, only="last")
    assert caught.value.exit_code == 2
    assert not graph.path.exists()
    graph.pipeline().run(graph.path, only="draw")
    assert graph.ran == UNITS
    with pytest.raises(InputError, match="draw, which is out of date"):
        graph.pipeline("y").run(graph.path, only="one")
    assert graph.states() == ["done", "new", "new"]
    graph.pipeline().run(graph.path, only="one")
    graph.pipeline().run(graph.path, only="last")
    assert graph.ran == ["two"]
    with pytest.raises(InputError, match="can't go together"):
        graph.pipeline().run(graph.path, only="one", until="one")


def test_only_a_kind_runs_those_that_can(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran: list[str] = []
    stages = [
        Draw(ran=ran),
        Gather("first", ("draw",), ran=ran),
        Gather("second", ("first",), ran=ran),
        Draw("late", "late", ran=ran),
        Gather("third", ("second", "late"), ran=ran),
    ]
    pipeline = Pipeline(RECIPE, Registry(), stages)
    pipeline.run(tmp_path, only="draw")
    ran.clear()
    pipeline.run(tmp_path, only="gather")
    assert ran == ["first", "second"]
    assert (
        "warning: left out: third needs late, which is not done; run `dasd late`" in capsys.readouterr().err
    )
    with pytest.raises(InputError, match="third needs late"):
        pipeline.run(tmp_path, only="third")


@pytest.mark.parametrize("until", [None, "draw"])
def test_a_damaged_part_stops_the_run_and_is_named(graph: Graph, until: str | None) -> None:
    graph.pipeline().run(graph.path)
    part = graph.path / "stages" / "01-draw" / "part-verdicts-00001.parquet"
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(StoreError, match=r"part-verdicts-00001\.parquet is torn") as caught:
        graph.pipeline().run(graph.path, until=until)
    assert caught.value.path == part
    shutil.rmtree(part.parent)  # what the message says
    graph.pipeline().run(graph.path)
    assert graph.ran == UNITS  # the same rows again: those after it stand


def test_a_damaged_artifact_of_a_need_stops_only(graph: Graph) -> None:
    graph.pipeline().run(graph.path, until="one")
    (graph.path / "out" / "one.txt").write_text("altered")
    with pytest.raises(StoreError, match=r"one\.txt"):
        graph.pipeline().run(graph.path, only="last")
    assert graph.ran == []


def test_observers(graph: Graph) -> None:
    graph.pipeline().run(graph.path)
    graph.pipeline().run(graph.path)  # skipped stages tell nobody
    assert [(hook, told["stage"]) for hook, told in graph.observed] == [
        (f"dasd_stage_{what}", name) for name in ("draw", "one", "two") for what in ("started", "finished")
    ]
    _, told = graph.observed[1]
    assert told["run"] == graph.path and told["summary"] == {"units": 3}
    assert isinstance(told["seconds"], float) and told["seconds"] >= 0


def test_a_second_writer_is_refused(graph: Graph) -> None:
    other = Graph(graph.path)

    def meet(unit: int) -> None:
        with pytest.raises(LockError):
            other.pipeline().run(other.path)

    graph.pipeline(hook=meet).run(graph.path)
    assert other.ran == []
    assert graph.states() == ["done", "done", "done"]


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([Draw("a"), Draw("a")], "two stages are named 'a'"),
        ([Gather("a", ("b",)), Draw("b")], "stage a needs 'b', and no stage before it"),
        ([Draw("A/b")], "a stage is named 'A/b'"),
    ],
)
def test_graphs_that_cannot_be(stages: Sequence[Draw | Gather], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Pipeline(RECIPE, Registry(), stages)


def test_directory_defaults_to_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = Pipeline(RECIPE, Registry(), [Draw()]).run()
    assert run.directory == Path("runs/runner")
    assert run.directory.is_dir()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system on which a run may start, and that a few MiB fill."""
    with small_disk(tmp_path / "disk", 70) as place:
        yield place


@pytest.mark.parametrize("library", [False, True])
def test_a_disk_that_fills_up(disk: Path, library: bool) -> None:
    graph = Graph(disk / "run")

    def other_program(unit: int) -> None:
        if unit == 1:
            fill(disk / "other")
            if library:
                raise RuntimeError("unexpected pos 64 vs 128")  # what a library may make of it

    with pytest.raises(DiskFullError, match=r"the disk is full: .* free for .*same command") as caught:
        graph.pipeline(hook=other_program).run(graph.path)
    assert caught.value.exit_code == 1
    assert graph.states() == ["partial", "new", "new"]
    with pytest.raises(DiskFullError, match=r"64\.0 MiB needed"):  # told before anything starts
        graph.pipeline().run(graph.path)
    (disk / "other").unlink()
    graph.pipeline().run(graph.path)
    assert graph.ran == ["draw-1", "draw-2", "one", "two"]


@pytest.mark.parametrize("allowed", [True, False])
def test_the_recipe_alone_lets_code_run_without_a_sandbox(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], allowed: bool
) -> None:
    settings = RECIPE.settings.model_copy(update={"unsafe_run_code_without_sandbox": allowed})
    seen: list[bool] = []
    stages = [Draw(hook=lambda _: seen.append(without_sandbox()))]
    try:
        Pipeline(Recipe(settings), Registry(), stages, Console()).run(tmp_path)
    finally:
        allow_without_sandbox(False)
    assert seen == [allowed] * 3
    assert ("all rights of your user" in capsys.readouterr().err) is allowed
