"""Sampling and scoring that are interrupted go on with what is left of the unit, and end with the same bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest
import torch
from tests.stage_run import ListConsole, make_recipe, make_registry

from dasd.base.records import SampleRequest, SamplingSpec, ScoreRequest, ScoringSpec
from dasd.models.transformers import builtin as backends
from dasd.pipeline.runner import Pipeline
from dasd.pipeline.work.under_way import FOLDER
from dasd.plugins.registry import Registry
from dasd.store import Run

MODEL = {
    "model": "dasd:mini-student",
    "backend": "counted",
    "precision": "fp32",
    "batch_size": 5,
    "token_budget": 512,
}
CHANGES: dict[str, Any] = {"teacher": MODEL, "student": MODEL, "sampling": {"max_tokens": 60, "chunk": 20}}


class Counted:
    """The real engine; keeps the ids that it gave, and is interrupted after so many rows."""

    given: ClassVar[list[str]] = []
    asked: ClassVar[list[str]] = []
    stop_after: ClassVar[int | None] = None

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def sample(self, requests: Sequence[SampleRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        return self._counted(requests, self._inner.sample(requests, spec))

    def score(self, requests: Sequence[ScoreRequest], spec: ScoringSpec) -> Iterator[pl.DataFrame]:
        return self._counted(requests, self._inner.score(requests, spec))

    def _counted(self, requests: Sequence[Any], frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        self.asked.extend(request.sample_id for request in requests)
        for rows in frames:
            if self.stop_after is not None and len(self.given) >= self.stop_after:
                raise KeyboardInterrupt
            self.given.extend(rows["sample_id"])
            yield rows


def registry() -> Registry:
    made, real = make_registry(), Registry()
    backends.dasd_register(real)
    factory = real.component("teacher", "transformers").factory
    made.teacher("counted", lambda settings: Counted(factory(settings)))
    return made


def run(directory: Path, console: ListConsole | None = None) -> Run:
    recipe = make_recipe(filters={"answer": False, "structure": "any", "truncated": False}, **CHANGES)
    return Pipeline(recipe, registry(), console=console or ListConsole()).run(directory, until="score-low")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    torch.set_num_threads(1)
    return run(tmp_path_factory.mktemp("runs"))


@pytest.fixture(autouse=True)
def fresh(whole: Run) -> Iterator[None]:
    Counted.given.clear()
    Counted.asked.clear()
    yield
    Counted.stop_after = None


def same(found: Run, whole: Run) -> bool:
    return all(
        found.frame(frame).collect().equals(whole.frame(frame).collect()) for frame in ("samples", "scores")
    )


@pytest.mark.parametrize("stops", [(15,), (5, 10, 27), (42,)])
def test_nothing_that_was_finished_is_made_again(whole: Run, tmp_path: Path, stops: tuple[int, ...]) -> None:
    for stop in stops:
        Counted.stop_after = stop
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    finished = len(Counted.given)
    assert finished >= stops[-1]
    Counted.stop_after = None
    Counted.asked.clear()
    again = run(tmp_path)
    rows = sum(again.frame(frame).collect().height for frame in ("samples", "scores"))
    assert len(Counted.given) == rows and len(Counted.asked) == rows - finished
    assert same(again, whole), "to the bit: whole batches were kept"
    assert not list(tmp_path.rglob(FOLDER))


def test_a_torn_piece_is_told_and_made_again(whole: Run, tmp_path: Path) -> None:
    Counted.stop_after = 15
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    piece, *_ = sorted(tmp_path.rglob(f"{FOLDER}/*.parquet"))
    piece.write_bytes(piece.read_bytes()[:-7])
    Counted.stop_after = None
    Counted.asked.clear()
    console = ListConsole()
    assert same(run(tmp_path, console), whole)
    assert any("was altered" in text for text in console.warned)
