"""Engines that read requests as they have room: kept full over units, same rows as those that take lists."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest
from tests.fed_model import TOGETHER, Fed
from tests.stage_run import ListConsole, ScriptedModel, make_recipe, make_registry

from dasd.base.records import SampleRequest, SamplingSpec
from dasd.errors import BackendError, SchemaError
from dasd.pipeline.runner import Pipeline
from dasd.pipeline.work import feeding, under_way
from dasd.pipeline.work.under_way import FOLDER
from dasd.recipe.model_settings import ModelSettings
from dasd.store import Run

FRAMES = ("samples", "verdicts", "scores", "eval", "train")


def run(
    directory: Path,
    model: type[ScriptedModel] = Fed,
    console: ListConsole | None = None,
    until: str = "mix-mixed",
) -> Run:
    made = make_registry()
    made._components.pop(("teacher", "scripted"))
    made.teacher("scripted", model)
    return Pipeline(make_recipe(), made, console=console or ListConsole()).run(directory, until=until)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """By an engine that takes lists."""
    return run(tmp_path_factory.mktemp("whole"), ScriptedModel)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    seconds = Fed.seconds
    yield
    Fed.seconds = seconds
    Fed.forget()


def same(found: Run, whole: Run) -> bool:
    return all(
        found.frame(frame, with_stage=True)
        .collect()
        .drop("seconds", strict=False)
        .equals(whole.frame(frame, with_stage=True).collect().drop("seconds", strict=False))
        for frame in FRAMES
    )


def test_later_units_flow_in_and_the_rows_are_those_of_lists(whole: Run, tmp_path: Path) -> None:
    found = run(tmp_path)
    assert same(found, whole)
    assert not list(tmp_path.rglob(FOLDER))
    # The 36 requests of sample-low are four units of ten; an engine that is kept full is called once.
    Fed.asked.clear()
    Fed.calls_made = 0
    again = run(tmp_path / "low", until="sample-low")
    assert Fed.calls_made == 1 and len(Fed.asked) == 36
    order = again.frame("samples").collect()["sample_id"].to_list()
    assert Fed.asked == order, "requests are asked for in the order of the units"
    first_unit = set(order[:10])
    last_of_first = max(place for place, each in enumerate(Fed.given) if each in first_unit)
    assert any(each not in first_unit for each in Fed.given[:last_of_first]), (
        "a later unit's answer came before"
    )


def test_scoring_and_continuing_begin_with_the_longest(whole: Run, tmp_path: Path) -> None:
    run(tmp_path, until="dedup-low")
    Fed.asked.clear()
    run(tmp_path, until="score-low")
    texts = dict(whole.frame("samples", "sample-low").select("sample_id", "text").collect().iter_rows())
    lengths = [len(texts[each]) for each in Fed.asked]
    window = feeding.SORTED * TOGETHER
    assert lengths[:window] == sorted(lengths[:window], reverse=True)
    assert lengths != sorted(lengths, reverse=True), "not all of a stage is held for it"


def test_what_is_finished_is_never_asked_for_again(whole: Run, tmp_path: Path) -> None:
    for stop in (7, 5, 19, 31, 2):
        Fed.calls, Fed.fail_after = 0, stop
        with pytest.raises(BackendError, match="stops here"):
            run(tmp_path, until="score-low")
    Fed.fail_after = None
    found = run(tmp_path, until="score-low")
    assert len(Fed.done) == len(set(Fed.done)), "also those of units that weren't whole"
    for frame, stage in (("samples", "sample-low"), ("scores", "score-low")):
        assert found.frame(frame, stage).collect().equals(whole.frame(frame, stage).collect())


def test_what_an_interrupted_unit_left_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Fed.calls, Fed.fail_after = 0, 7
    with pytest.raises(BackendError, match="stops here"):
        run(tmp_path, until="sample-low")
    left = sorted(tmp_path.rglob(f"{FOLDER}/*.parquet"))
    seen: list[Path] = []
    real = under_way._read
    monkeypatch.setattr(under_way, "_read", lambda file, schema: seen.append(file) or real(file, schema))
    Fed.calls, Fed.fail_after = 0, 0
    with pytest.raises(BackendError, match="stops here"):
        run(tmp_path, until="sample-low")
    assert sorted(seen) == left != []


def test_an_answer_without_end_bounds_what_waits_behind_it(
    whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "AHEAD", 5)  # times four: as many requests may wait
    first = whole.frame("samples", "sample-low").collect()["sample_id"][0]
    Fed.seconds = staticmethod(lambda sample_id: 1e9 if sample_id == first else 1.0)  # type: ignore[assignment]
    Fed.calls_made = 0
    found = run(tmp_path, until="sample-low")
    assert Fed.calls_made == 2, "the engine ran empty once, for this answer"
    assert Fed.given.index(first) == 19, "all others of two units were given before"
    assert found.frame("samples").collect().equals(whole.frame("samples", "sample-low").collect())


class Deaf(Fed):
    """Reads four requests and no more."""

    def _fed(
        self, stage: str, requests: Iterable[Any], answer: Callable[[Any], pl.DataFrame]
    ) -> Iterator[pl.DataFrame]:
        unread = iter(requests)
        for request in [next(unread) for _ in range(TOGETHER)]:
            yield answer(request)


def test_an_engine_that_stops_reading_is_named(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="'scripted'.* ended before it had read all requests"):
        run(tmp_path, Deaf, until="sample-low")


def test_progress_tells_what_runs_and_what_waits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dasd.base.progress import Console

    made = make_registry()
    made._components.pop(("teacher", "scripted"))
    made.teacher("scripted", Fed)
    Pipeline(make_recipe(), made, console=Console()).run(tmp_path, until="sample-low")
    told = capsys.readouterr().err
    assert "36/36 responses" in told and "running=0, waiting=0" in told


class Several(ScriptedModel):
    """Takes lists, three at a time, each in a thread."""

    together: ClassVar[int] = 3
    lists: ClassVar[list[tuple[str, ...]]] = []
    threads: ClassVar[set[threading.Thread]] = set()
    second: ClassVar[threading.Event] = threading.Event()
    """Set when another list is under way than the first one, which waits for it where ``waits``."""
    waits: ClassVar[bool] = False

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        self.info = replace(self.info, lists=self.together)

    def sample(self, requests: Iterable[SampleRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        asked = list(requests)
        self.lists.append(tuple(each.sample_id for each in asked))
        self.threads.add(threading.current_thread())
        if len(self.lists) > 1:
            self.second.set()
        elif self.waits:
            assert self.second.wait(60)
        yield from ScriptedModel.sample(self, asked, spec)


class Alone(Several):
    """The same, a list at a time."""

    together = 1


def lists_of(directory: Path, model: type[Several]) -> tuple[Run, list[tuple[str, ...]]]:
    model.lists.clear()
    model.threads.clear()
    return run(directory, model, until="report"), list(model.lists)


def test_an_engine_that_works_on_several_lists_gets_the_same_ones(tmp_path: Path, whole: Run) -> None:
    """Each list is that of one engine, the rows are the same; evaluation too."""
    alone, wanted = lists_of(tmp_path / "alone", Alone)
    several, found = lists_of(tmp_path / "several", Several)
    assert sorted(found) == sorted(wanted)
    assert len(Several.threads) > 1 and threading.main_thread() not in Several.threads
    assert same(several, alone)
    assert several.frame("samples").collect().height > 0 and several.frame("eval").collect().height > 0


def test_lists_run_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one ends only when another is under way."""
    Several.lists.clear()
    Several.second.clear()
    monkeypatch.setattr(Several, "waits", True)
    run(tmp_path, Several, until="sample-low")


def test_a_list_that_fails_ends_the_stage_and_what_is_finished_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Run
) -> None:
    sample = ScriptedModel.sample

    def failing(self: ScriptedModel, asked: Any, spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        if len(Several.lists) == 3:
            raise BackendError("the third list fails")
        yield from sample(self, asked, spec)

    Several.lists.clear()
    monkeypatch.setattr(ScriptedModel, "sample", failing)
    with pytest.raises(BackendError, match="the third list fails"):
        run(tmp_path, Several)
    monkeypatch.setattr(ScriptedModel, "sample", sample)
    assert same(run(tmp_path, Several), whole)


def test_refusals_of_several_lists_are_set_aside(tmp_path: Path) -> None:
    class Refusing(Several):
        def sample(self, requests: Iterable[SampleRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
            asked = list(requests)
            if spec.stage == "sample-low":
                spec.on_refused(asked[0].sample_id, "first of its list")
                asked = asked[1:]
            return super().sample(asked, spec)

    made = make_registry()
    made._components.pop(("teacher", "scripted"))
    made.teacher("scripted", Refusing)
    pipeline = Pipeline(make_recipe(refused_share=1.0), made, console=ListConsole())
    refused = pipeline.run(tmp_path, until="sample-low").frame("refused").collect()
    assert refused.height > 1 and set(refused["reason"]) == {"first of its list"}
