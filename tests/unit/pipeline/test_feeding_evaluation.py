"""Benchmarks of one evaluation, asked of an engine that reads requests as it has room: it is kept full over them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.fed_model import TOGETHER, Fed
from tests.stage_run import ListConsole, ScriptedEvaluator, ScriptedModel, make_recipe, make_registry

from dasd.base.records import EvalSpec, Message, SampleRequest, SamplingSpec, ScoreRequest, ScoringSpec
from dasd.base.schemas import EVAL
from dasd.errors import BackendError, InputError, PluginError
from dasd.evaluation.verifier_evaluator import VerifierEvaluator
from dasd.pipeline.runner import Pipeline
from dasd.pipeline.work import answering
from dasd.pipeline.work.under_way import FOLDER
from dasd.plugins.roles import Evaluator
from dasd.store import Run

BENCHMARKS = {"first": 6, "second": 5, "third": 4}
"""Questions of each."""
CAPS = {"first": 400, "second": 12, "third": 400}


def evaluate(
    directory: Path,
    make: Callable[[Any], Evaluator] = VerifierEvaluator,
    model: type[ScriptedModel] = Fed,
    **changes: Any,
) -> Run:
    """Three benchmarks, two answers a question, in units of two questions."""
    made = make_registry()
    for role in ("teacher", "evaluator"):
        made._components.pop((role, "scripted"))  # type: ignore[call-overload]
    made.teacher("scripted", model)
    made.evaluator("scripted", lambda _: make(made), grades_by_verifier=True)
    sources = [
        {"source": "miniature", "count": count, "name": name, "max_tokens": CAPS[name]}
        for name, count in BENCHMARKS.items()
    ]
    recipe = make_recipe(questions={"eval": sources}, sampling={"chunk": 4}, **changes)
    return Pipeline(recipe, made, console=ListConsole()).run(directory, until="evaluate-before")


def answers(run: Run) -> pl.DataFrame:
    return run.frame("eval", "evaluate-before").collect().drop("seconds")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """By an engine that takes lists."""
    return answers(evaluate(tmp_path_factory.mktemp("whole"), model=ScriptedModel))


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    seconds = Fed.seconds
    yield
    Fed.seconds = seconds
    Fed.forget()


def evaluated() -> list[str]:
    """sample_ids of the answers in the order in which they were given."""
    return [each.rpartition(" ")[2] for each in Fed.done if each.startswith("evaluate ")]


def test_the_next_benchmarks_flow_in_before_the_slowest_answer(whole: pl.DataFrame, tmp_path: Path) -> None:
    evaluate(tmp_path / "a")
    slowest = next(each for each in Fed.asked if each in evaluated())
    Fed.forget()
    Fed.seconds = staticmethod(lambda sample_id: 1e9 if sample_id == slowest else 1.0)  # type: ignore[assignment]
    found = evaluate(tmp_path / "b")
    assert answers(found).equals(whole)
    assert evaluated()[-1] == slowest, "the first request of all was answered last"
    assert len(evaluated()) == 2 * sum(BENCHMARKS.values())
    cut = {name: rows["finish_reason"].to_list() for (name,), rows in whole.group_by("benchmark")}
    assert set(cut["second"]) == {"length"} and "stop" in cut["first"], "each benchmark has its own cap"
    assert not list(tmp_path.rglob(FOLDER))


def test_what_is_finished_is_never_asked_for_again(whole: pl.DataFrame, tmp_path: Path) -> None:
    evaluate(tmp_path / "a")
    before = len(Fed.done) - len(evaluated())
    Fed.forget()
    for stop in (before + 7, 5, 9):
        Fed.calls, Fed.fail_after = 0, stop
        with pytest.raises(BackendError, match="stops here"):
            evaluate(tmp_path / "b")
    Fed.fail_after = None
    found = evaluate(tmp_path / "b")
    assert len(Fed.done) == len(set(Fed.done))
    assert answers(found).equals(whole)


def test_grading_goes_on_while_answers_come(whole: pl.DataFrame, tmp_path: Path) -> None:
    """The first benchmark's first answer is looked at until another one has been given."""
    later = threading.Event()

    class Noting(Fed):
        def sample(self, requests: Iterable[SampleRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
            for number, rows in enumerate(super().sample(requests, spec)):
                if spec.stage.startswith("evaluate") and number == 1:
                    later.set()
                yield rows

    class Slow(VerifierEvaluator):
        def evaluate(self, model: Any, questions: pl.DataFrame, spec: EvalSpec) -> Iterator[pl.DataFrame]:
            for rows in super().evaluate(model, questions, spec):
                assert later.wait(60)
                yield rows

    assert answers(evaluate(tmp_path, Slow, Noting)).equals(whole)


class Own(ScriptedEvaluator):
    """Each benchmark asks in another way; all grade alike."""

    def __init__(self, registry: object) -> None:
        pass

    def evaluate(self, model: Any, questions: pl.DataFrame, spec: EvalSpec) -> Iterator[pl.DataFrame]:
        if spec.benchmark == "first":  # two calls, one after the other
            yield from super().evaluate(model, questions, spec)
            return
        keys = [(q, n) for q in questions["question_id"] for n in range(spec.attempts)]
        keys = [key for key in keys if key not in spec.done]
        message = (Message("user", "9 + 3 - 5 + 3 + 2 - 5 = ?"),)
        requests = [SampleRequest(f"{q}/{n}", q, message, n, n) for q, n in keys]
        texts = [ScoreRequest(f"{q}/{n}", message, "7", ended=True) for q, n in keys]
        drawn = model.sample(requests, SamplingSpec("own", 0.3, 1.0, spec.max_tokens))
        scored = model.score(texts, ScoringSpec("own", 64))
        # One of each in turn; names are those of another benchmark's too.
        for rows, scores in zip(drawn, scored, strict=True):
            assert rows["stage"].to_list() == ["own"] and round(rows["temperature"][0], 1) == 0.3
            question, attempt = rows["sample_id"][0].rsplit("/", 1)
            tokens = len(scores["token_ids"][0])
            row = (spec.benchmark, question, int(attempt), "", None, True, "stop", tokens, 0.0)
            spec.on_rows(1)
            yield pl.DataFrame([row], schema=dict(EVAL.columns), orient="row")


def test_evaluators_may_ask_as_they_like(tmp_path: Path) -> None:
    wanted = answers(evaluate(tmp_path / "lists", Own, ScriptedModel))
    Fed.forget()
    assert answers(evaluate(tmp_path / "fed", Own)).equals(wanted)


class Picky(Fed):
    """Refuses one request in four of an evaluation."""

    def sample(self, requests: Iterable[SampleRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        def served() -> Iterator[SampleRequest]:
            for number, request in enumerate(requests):
                if spec.stage.startswith("evaluate") and number % 4 == 0:
                    spec.on_refused(request.sample_id, "not this one")
                else:
                    yield request

        return super().sample(served(), spec)


def test_refused_answers_are_those_of_their_benchmark(whole: pl.DataFrame, tmp_path: Path) -> None:
    run = evaluate(tmp_path, model=Picky, refused_share=1.0)
    refused = run.frame("refused", "evaluate-before").collect()
    assert refused.height == -(-whole.height // 4)
    assert set(refused["sample_id"].str.split("/").list.first()) == set(BENCHMARKS)
    names = pl.concat_str("benchmark", "question_id", pl.col("attempt").cast(pl.String), separator="/")
    assert answers(run).equals(whole.filter(~names.is_in(refused["sample_id"].to_list())))
    with pytest.raises(BackendError, match="refused"):
        evaluate(tmp_path / "b", model=Picky, refused_share=0.0)


def test_an_evaluator_that_fails_ends_the_stage_and_what_was_given_stays(
    whole: pl.DataFrame, tmp_path: Path
) -> None:
    class Failing(VerifierEvaluator):
        def evaluate(self, model: Any, questions: pl.DataFrame, spec: EvalSpec) -> Iterator[pl.DataFrame]:
            if spec.benchmark == "third":
                raise InputError("the third benchmark can't be read")
            return super().evaluate(model, questions, spec)

    with pytest.raises(InputError, match="third benchmark can't be read"):
        evaluate(tmp_path, Failing)
    given = set(evaluated())
    assert len(given) >= TOGETHER, "others were under way"
    Fed.forget()
    assert answers(evaluate(tmp_path)).equals(whole)
    assert not given & set(evaluated())


def test_no_more_benchmarks_are_begun_than_may_wait(
    whole: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve answers of the first benchmark are more than four: the second begins when they are written."""
    monkeypatch.setattr(answering, "AHEAD", 1)
    begun: list[tuple[str, int]] = []

    class Watching(VerifierEvaluator):
        def evaluate(self, model: Any, questions: pl.DataFrame, spec: EvalSpec) -> Iterator[pl.DataFrame]:
            begun.append((spec.benchmark, questions.height))
            return super().evaluate(model, questions, spec)

    assert answers(evaluate(tmp_path, Watching)).equals(whole)
    assert begun == list(BENCHMARKS.items()), "each gets its questions at once"


class Forgetful(ScriptedEvaluator):
    """Leaves out the last question of the second benchmark."""

    def __init__(self, registry: object) -> None:
        pass

    def evaluate(self, model: Any, questions: pl.DataFrame, spec: EvalSpec) -> Iterator[pl.DataFrame]:
        asked = questions.head(-1) if spec.benchmark == "second" else questions
        yield from super().evaluate(model, asked, spec)


def test_an_evaluator_answers_all_of_its_benchmark(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="evaluator 'scripted' left out 2 of"):
        evaluate(tmp_path, Forgetful)
