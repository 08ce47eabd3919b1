"""Requests that an engine refuses are set aside, counted and not asked again; the others go on, up to a bound."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from zlib import crc32

import polars as pl
import pytest
from tests.stage_run import (
    ListConsole,
    ScriptedEvaluator,
    ScriptedModel,
    make_recipe,
    make_registry,
    run_recipe,
)

from dasd.base.records import (
    ContinueRequest,
    EvalSpec,
    Message,
    SampleRequest,
    SamplingSpec,
    ScoreRequest,
    ScoringSpec,
)
from dasd.errors import BackendError, SchemaError
from dasd.evaluation import builtin as evaluators
from dasd.pipeline.runner import Pipeline
from dasd.pipeline.work.refused import allowed
from dasd.plugins.registry import Registry
from dasd.store import Run

Request = SampleRequest | ContinueRequest | ScoreRequest
ALWAYS = {"refused_share": 1.0}


class Picky(ScriptedModel):
    """Refuses what ``refuses`` says; keeps the ids that it was asked for."""

    refuses: ClassVar[Callable[[str, Request], bool]] = lambda _stage, _request: False
    asked: ClassVar[list[str]] = []

    def _served(self, requests: Sequence[Any], spec: SamplingSpec | ScoringSpec) -> list[Any]:
        served = []
        for request in requests:
            self.asked.append(request.sample_id)
            if type(self).refuses(spec.stage, request):
                spec.on_refused(request.sample_id, "a prompt that I don't like")
            else:
                served.append(request)
        return served

    def sample(self, requests: Sequence[SampleRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        return super().sample(self._served(requests, spec), spec)

    def continue_(self, requests: Sequence[ContinueRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        return super().continue_(self._served(requests, spec), spec)

    def score(self, requests: Sequence[ScoreRequest], spec: ScoringSpec) -> Iterator[pl.DataFrame]:
        return super().score(self._served(requests, spec), spec)


class Telling(ScriptedEvaluator):
    """Passes on what the model refuses, as ``EvalSpec.on_refused`` wants it."""

    def evaluate(self, model: Any, questions: pl.DataFrame, spec: EvalSpec) -> Iterator[pl.DataFrame]:
        class Model:
            def sample(self, requests: Sequence[SampleRequest], how: SamplingSpec) -> Iterator[pl.DataFrame]:
                of = {request.sample_id: (request.question_id, request.candidate) for request in requests}
                yield from model.sample(
                    requests, replace(how, on_refused=lambda s, why: spec.on_refused(*of[s], why))
                )

        yield from super().evaluate(Model(), questions, spec)


def registry() -> Registry:
    made = make_registry()
    for role, name in (("teacher", "scripted"), ("evaluator", "scripted")):
        made._components.pop((role, name))  # type: ignore[call-overload]
    made.teacher("scripted", Picky)
    made.evaluator("scripted", lambda _: Telling())
    return made


def run(directory: Path, until: str, console: ListConsole | None = None, **changes: Any) -> Run:
    pipeline = Pipeline(make_recipe(**changes), registry(), console=console or ListConsole())
    return pipeline.run(directory, until=until)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    yield
    Picky.refuses = lambda _stage, _request: False
    Picky.asked.clear()
    Picky.fail_after = None


@pytest.mark.parametrize(
    ("total", "share", "wanted"),
    [(1, 0.05, 0), (4, 0.05, 2), (10, 0.05, 5), (60, 0.05, 5), (1000, 0.05, 50), (60, 0, 5), (9, 1, 9)],
)
def test_a_share_or_a_handful_may_be_refused(total: int, share: float, wanted: int) -> None:
    assert allowed(total, share) == wanted


def test_a_refused_row_costs_none_of_the_others_in_any_stage(tmp_path: Path) -> None:
    whole = run_recipe(tmp_path / "whole", "sample-high")
    Picky.refuses = lambda stage, request: (
        request.sample_id.endswith("/1")  # an evaluation's second attempts
        if "/" in request.sample_id
        else crc32(f"{stage} {request.sample_id}".encode()) % 3 == 0
    )
    console = ListConsole()
    picked = run(tmp_path / "picked", "mix-mixed", console, **ALWAYS)
    refused = picked.frame("refused", with_stage=True).collect()
    stages = set(refused["run_stage"])
    assert stages >= {"sample-low", "sample-heldout", "score-low", "evaluate-before", "mix-mixed"}
    assert refused["reason"].unique().to_list() == ["a prompt that I don't like"]
    assert set(refused["question_id"]) <= set(whole.frame("questions").collect()["question_id"])
    for stage in ("sample-low", "sample-high"):
        of = set(refused.filter(pl.col("run_stage") == stage)["sample_id"])
        rows = whole.frame("samples", stage).filter(~pl.col("sample_id").is_in(list(of))).collect()
        assert picked.frame("samples", stage).collect().equals(rows), stage
        assert picked.summary(stage)["refused"] == len(of) > 0
    of = set(refused.filter(pl.col("run_stage") == "score-low")["sample_id"])
    assert of.isdisjoint(picked.frame("scores", "score-low").collect()["sample_id"])
    assert of.isdisjoint(picked.frame("verdicts", "select-low").collect()["sample_id"])
    answers = picked.frame("eval", "evaluate-before").collect()
    assert set(answers["attempt"]) == {0} and answers.height == 6
    assert picked.summary("evaluate-before")["refused"] >= 6
    assert any("the engine refused" in text and "question " in text for text in console.warned)
    kl = picked.frame("metrics", "evaluate-before").filter(pl.col("metric") == "kl_nats_per_response")
    scored = picked.frame("scores", "evaluate-before").collect().height
    assert kl.filter(pl.col("group") == "all").collect()["n"].to_list() == [scored] and 0 < scored < 4
    train = set(picked.frame("train", "train-low").collect()["sample_id"])
    assert train and train <= set(picked.frame("scores", "score-low").collect()["sample_id"])


def test_what_was_refused_is_not_asked_again_when_the_stage_goes_on(tmp_path: Path) -> None:
    Picky.refuses = lambda _, request: getattr(request, "candidate", 0) == 1
    Picky.calls, Picky.fail_after = 0, 9
    with pytest.raises(BackendError, match="stops here"):
        run(tmp_path, "sample-low", **ALWAYS)
    before = set(Picky.asked)
    assert len(before) == 20, "the second unit of ten was under way"
    Picky.fail_after = None
    Picky.asked.clear()
    again = run(tmp_path, "sample-low", **ALWAYS)
    refused = again.frame("refused").collect()["sample_id"].to_list()
    assert len(refused) == len(set(refused)) == 12
    assert again.frame("samples").collect().height == 24
    early = before.intersection(refused)
    assert early and not early.intersection(Picky.asked)
    assert len(Picky.asked) == 36 - 9 - len(early), "neither what was refused nor what was finished"


def test_a_stage_stops_where_too_much_is_refused_and_asks_again_once_that_is_mended(tmp_path: Path) -> None:
    Picky.refuses = lambda _, request: getattr(request, "candidate", 0) == 2
    for _ in range(2):
        with pytest.raises(
            BackendError,
            match=r"(?s)refused 6 of 36 requests, more than refused_share: 0\.05.*question \w+ and 5 more: a prompt",
        ):
            run(tmp_path, "sample-low")
    Picky.refuses = lambda _stage, _request: False
    mended = run(tmp_path, "sample-low")
    # A unit of ten that was done keeps what was refused in it.
    assert mended.frame("samples").collect().height == 33
    assert mended.summary("sample-low")["refused"] == 3


def test_an_engine_that_refuses_everything_is_no_single_row(tmp_path: Path) -> None:
    Picky.refuses = lambda _stage, _request: True
    with pytest.raises(BackendError, match="refused 10 of 36 requests, and gave none so far"):
        run(tmp_path, "sample-low", refused_share=0.9)


def test_the_verifier_evaluator_passes_on_what_is_refused(tmp_path: Path) -> None:
    made = registry()
    evaluators.dasd_register(made)
    Picky.refuses = lambda stage, request: stage.startswith("evaluate ") and request.candidate == 0  # type: ignore[union-attr]
    pipeline = Pipeline(
        make_recipe(evaluation={"evaluator": "verifier"}, **ALWAYS), made, console=ListConsole()
    )
    found = pipeline.run(tmp_path, until="evaluate-before")
    refused = found.frame("refused", "evaluate-before").collect()
    assert refused.height == 6 and refused["sample_id"].str.ends_with("/0").all()
    assert set(found.frame("eval").collect()["attempt"]) == {1}


class Careless(Picky):
    """Refuses what nobody asked for, or a row that it gave."""

    def sample(self, requests: Sequence[SampleRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        yield from super().sample(requests, spec)
        spec.on_refused(self._settings.options.get("refuse", requests[0].sample_id), "why")  # type: ignore[arg-type]


@pytest.mark.parametrize(("options", "words"), [({}, "twice"), ({"refuse": "x"}, "that nobody asked for")])
def test_a_refusal_is_of_an_open_request(options: dict[str, str], words: str) -> None:
    made = Registry()
    made.teacher("careless", Careless)
    settings = make_recipe().settings.teacher.model_copy(update={"backend": "careless", "options": options})
    request = SampleRequest("s", "q", (Message("user", "1 + 1 + 1 + 1 + 1 + 1 = ?"),), 0, 1)
    spec = SamplingSpec("low", 1.0, 1.0, 400, lambda *_: None)
    with pytest.raises(SchemaError, match=f"teacher 'careless'.* refused a request {words}"):
        list(made.make_teacher(settings).sample([request], spec))


def test_messages_name_file_and_row_and_not_only_a_hash(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    asked = [{"question": f"9 + {n} - 1 + 1 - 1 + 1 = ?", "answer": str(9 + n)} for n in range(4)]
    file.write_text("".join(json.dumps({**row, "verifier": "miniature"}) + "\n" for row in asked))
    questions = {"train": [{"source": "file", "options": {"path": str(file)}}]}
    second = run(tmp_path / "run", "questions", questions=questions).frame("places").collect()
    assert second["place"].to_list() == [f"mine.jsonl, row {row}" for row in range(1, 5)]
    question = second["question_id"][1]

    Picky.refuses = lambda _, request: getattr(request, "question_id", "") == question
    console = ListConsole()
    run(tmp_path / "run", "sample-low", console, questions=questions, **ALWAYS)
    (told,) = [text for text in console.warned if "the engine refused" in text]
    assert f"question {question} (mine.jsonl, row 2)" in told

    class Dead(Picky):
        def sample(self, requests: Sequence[SampleRequest], _: SamplingSpec) -> Iterator[pl.DataFrame]:
            hit = next(each.sample_id for each in requests if each.question_id == question)
            raise BackendError(f"sample {hit}: the engine is gone")
            yield

    made = make_registry()
    made._components.pop(("teacher", "scripted"))
    made.teacher("scripted", Dead)
    pipeline = Pipeline(make_recipe(questions=questions), made, console=ListConsole())
    with pytest.raises(BackendError, match=rf"engine is gone \(question {question} is mine\.jsonl, row 2\)$"):
        pipeline.run(tmp_path / "other", until="sample-low")
