"""An evaluation that is interrupted goes on attempt by attempt, and counts what could not be graded once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest
import torch
from tests.stage_run import ListConsole, ScriptedModel

from dasd.base.records import EvalSpec, Message, SampleRequest, SamplingSpec
from dasd.base.schemas import EVAL
from dasd.curation import filters, selectors, sources
from dasd.errors import PluginError, SchemaError
from dasd.evaluation import builtin as evaluators
from dasd.evaluation import verifiers
from dasd.evaluation.verifiers.math import MathVerifier
from dasd.evaluation.verifiers.pool import Pool
from dasd.models.transformers import builtin as backends
from dasd.pipeline.runner import Pipeline
from dasd.pipeline.work.under_way import FOLDER
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry
from dasd.store import Run

torch.set_num_threads(1)
TOWER = r"Sure. \boxed{9^{9^{9^{9}}}}"
RECIPE: dict[str, Any] = {
    "name": "alone",
    "student": {"model": "dasd:mini-student", "backend": "counted", "precision": "fp32", "batch_size": 6},
    "questions": {"eval": [{"source": "miniature", "count": 10, "name": "sums", "attempts": 3}]},
    "evaluation": {"max_tokens": 160},
    "sampling": {"chunk": 24},
}


class Counted:
    """The real engine; keeps the ids that it gave, and stops after so many answers."""

    given: ClassVar[list[str]] = []
    asked: ClassVar[list[str]] = []
    stop_after: ClassVar[int | None] = None

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def sample(self, requests: Sequence[SampleRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        self.asked.extend(request.sample_id for request in requests)
        for rows in self._inner.sample(requests, spec):
            if self.stop_after is not None and len(self.given) >= self.stop_after:
                raise KeyboardInterrupt
            self.given.extend(rows["sample_id"])
            yield rows


class Stubborn(ScriptedModel):
    """Says what no grader can compare in time to every second question."""

    def _text(self, messages: Sequence[Message], seed: int) -> str:
        return TOWER if messages[-1].content.startswith("hard") else r"\boxed{4}"


def registry() -> Registry:
    made = Registry()
    for module in (backends, evaluators, filters, selectors, sources, verifiers):
        made_by = Registry()
        module.dasd_register(made_by)  # type: ignore[attr-defined]
        made.merge(made_by)
    real = made.component("teacher", "transformers").factory
    made.teacher("counted", lambda settings: Counted(real(settings)))
    made.teacher("stubborn", Stubborn)
    return made


def evaluate(
    directory: Path, console: ListConsole | None = None, of: Registry | None = None, **changes: Any
) -> Run:
    recipe = Recipe.load({**RECIPE, **changes})
    return Pipeline(recipe, of or registry(), console=console or ListConsole()).run(
        directory, until="evaluate"
    )


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    yield
    Counted.given.clear()
    Counted.asked.clear()
    Counted.stop_after = None
    Stubborn.fail_after = None


def answers(run: Run) -> pl.DataFrame:
    return run.frame("eval").collect().drop("seconds")


def test_no_finished_attempt_is_generated_twice(tmp_path: Path) -> None:
    whole = answers(evaluate(tmp_path / "whole"))
    assert whole.height == 30 and whole["benchmark"].unique().to_list() == ["sums"]
    for stops in ((7,), (13, 19)):  # inside units of 8 questions
        Counted.given.clear()
        place = tmp_path / f"stopped-{len(stops)}"
        for stop in stops:
            Counted.stop_after = stop
            with pytest.raises(KeyboardInterrupt):
                evaluate(place)
        finished = set(Counted.given)
        assert len(finished) == len(Counted.given) >= stops[-1]
        Counted.stop_after = None
        Counted.asked.clear()
        run = evaluate(place)
        assert not finished & set(Counted.asked)
        assert len(Counted.given) == len(set(Counted.given)) == 30
        assert answers(run).equals(whole)
        assert not list(place.rglob(FOLDER))


def test_an_altered_piece_is_generated_again(tmp_path: Path) -> None:
    whole = answers(evaluate(tmp_path / "whole"))
    Counted.given.clear()
    for stop in (6, 12):  # a piece each
        Counted.stop_after = stop
        with pytest.raises(KeyboardInterrupt):
            evaluate(tmp_path / "stopped")
    pieces = sorted((tmp_path / "stopped").rglob(f"{FOLDER}/*.parquet"))
    pieces[0].write_bytes(pieces[0].read_bytes()[:-1] + b"x")
    Counted.stop_after = None
    Counted.asked.clear()
    console = ListConsole()
    assert answers(evaluate(tmp_path / "stopped", console)).equals(whole)
    assert any("was altered" in text for text in console.warned)
    assert 18 < len(Counted.asked) < 30


def stubborn(tmp_path: Path) -> dict[str, Any]:
    rows = [{"question": f"{'hard' if n % 2 else 'easy'} {n}", "answer": "4"} for n in range(6)]
    path = tmp_path / "asked.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return {
        "student": {"model": "dasd:mini-student", "backend": "stubborn", "batch_size": 1},
        "questions": {"eval": [{"source": "file", "options": {"path": str(path)}, "attempts": 1}]},
    }


def test_gradings_that_time_out_are_counted_once_and_told(tmp_path: Path) -> None:
    pool = Pool(cpu_seconds=0.5)
    of = registry()
    of._components.pop(("verifier", "math"))
    of.verifier("math", lambda: MathVerifier(pool))
    try:
        Stubborn.calls, Stubborn.fail_after = 0, 3
        with pytest.raises(Exception, match="stops here"):
            evaluate(tmp_path / "run", of=of, **stubborn(tmp_path))
        Stubborn.calls, Stubborn.fail_after = 0, None
        console = ListConsole()
        run = evaluate(tmp_path / "run", console, of=of, **stubborn(tmp_path))
        assert Stubborn.calls == 3
    finally:
        pool.shut()
    summary = run.summary("evaluate-before")
    assert summary["ungraded.timed out"] == 3
    assert any("grading 3 answers timed out" in text for text in console.warned)
    rows = run.frame("eval").collect()
    assert rows.filter(pl.col("text") == TOWER)["correct"].to_list() == [False] * 3
    assert rows.filter(pl.col("text") != TOWER)["correct"].to_list() == [True] * 3


class Scripted:
    """An evaluator that returns what it is told to."""

    def __init__(self, keys: Sequence[tuple[str, int]], benchmark: str = "b") -> None:
        self._keys, self._benchmark = keys, benchmark

    def evaluate(self, model: Any, questions: pl.DataFrame, spec: EvalSpec) -> Iterator[pl.DataFrame]:
        for question, attempt in self._keys:
            row = (self._benchmark, question, attempt, "", None, True, "stop", 1, 0.0)
            yield pl.DataFrame([row], schema=dict(EVAL.columns), orient="row")


@pytest.mark.parametrize(
    ("keys", "done", "words"),
    [
        ([("q", 0), ("q", 0)], frozenset(), "twice: attempt 0 at question q"),
        ([("q", 0)], frozenset({("q", 0)}), "done already"),
        ([("q", 2)], frozenset(), "that nobody asked for: attempt 2"),
        ([("x", 0)], frozenset(), "that nobody asked for: attempt 0 at question x"),
    ],
)
def test_answers_that_nobody_wants_are_refused(
    keys: list[tuple[str, int]], done: frozenset[tuple[str, int]], words: str
) -> None:
    made = Registry()
    made.evaluator("e", lambda _: Scripted(keys))
    asked = pl.DataFrame({"question_id": ["q"]})
    spec = EvalSpec("b", 2, 1.0, 1.0, 8, 0, 1, lambda _: None, done=done)
    with pytest.raises(SchemaError, match=words):
        list(made.make_evaluator("e").evaluate(None, asked, spec))  # type: ignore[arg-type]


def test_another_benchmark_s_name_is_refused() -> None:
    made = Registry()
    made.evaluator("e", lambda _: Scripted([("q", 0)], "other"))
    spec = EvalSpec("b", 1, 1.0, 1.0, 8, 0, 1, lambda _: None)
    with pytest.raises(SchemaError, match="benchmark 'other'; wanted 'b'"):
        list(made.make_evaluator("e").evaluate(None, pl.DataFrame({"question_id": ["q"]}), spec))  # type: ignore[arg-type]


def test_attempts_that_never_come(tmp_path: Path) -> None:
    made = registry()
    made.evaluator("lazy", lambda _: Scripted([]))
    changes: Mapping[str, Any] = {"evaluation": {"evaluator": "lazy"}}
    with pytest.raises(PluginError, match="'lazy' left out 24 of 24 answers"):
        evaluate(tmp_path, of=made, **changes)
