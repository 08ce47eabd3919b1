"""On-policy rounds as stages: who answers, what is trained on, resuming, what is refused before anything is spent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.stage_run import ListConsole, ScriptedModel, make_recipe, make_registry, run_recipe

from dasd.errors import BackendError, RecipeError
from dasd.models.miniature import world
from dasd.pipeline.compatibility import check_recipe
from dasd.pipeline.runner import Pipeline
from dasd.store import Run
from dasd.training.spans import Spans

OWN: dict[str, Any] = {
    "name": "own",
    "kind": "on-policy",
    "rounds": 3,
    "questions": 5,
    "candidates": 2,
    "loss": "sampled-reverse-kl",
}
LOW = {"name": "low", "kind": "off-policy", "temperature": 0.6}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A low-temperature training, then three rounds with a third of the teacher's responses."""
    place = tmp_path_factory.mktemp("on-policy") / "run"
    return run_recipe(place, stages=[LOW, {**OWN, "off_policy_share": 1 / 3, "evaluate_rounds": True}])


def test_each_round_answers_with_the_checkpoint_before(run: Run) -> None:
    names = [manifest.name for manifest in run.stages()]
    rounds = names[names.index("rollout-own-1") :]
    assert rounds == [
        *("rollout-own-1", "train-own-1", "evaluate-own-1"),
        *("rollout-own-2", "train-own-2", "evaluate-own-2"),
        *("rollout-own-3", "train-own", "evaluate-own"),
    ]
    authors = [
        run.frame("samples", f"rollout-own-{n}").collect()["model"].unique().to_list() for n in (1, 2, 3)
    ]
    student = "dasd:mini-student after train-"
    assert authors == [[f"{student}low"], [f"{student}own-1"], [f"{student}own-2"]]
    checkpoints = sorted(path.name for path in (run.directory / "checkpoints").iterdir())
    assert checkpoints == ["stage1", "stage2", "stage2-round1", "stage2-round2"]


def test_rounds_ask_the_next_questions_in_a_drawn_order(run: Run) -> None:
    train = run.frame("questions").filter(pl.col("split") == "train").collect()["question_id"].to_list()
    asked = [
        run.frame("samples", f"rollout-own-{n}").collect()["question_id"].unique().to_list()
        for n in (1, 2, 3)
    ]
    assert [len(each) for each in asked] == [5, 5, 5]
    assert not {*asked[0]} & {*asked[1]}, "ten of the twelve come once before any comes again"
    assert len({*asked[0], *asked[1], *asked[2]}) == len(train) == 12


def test_rows_are_the_sampled_tokens_weighed_by_what_the_teacher_says(run: Run) -> None:
    answers = run.frame("samples", "rollout-own-2").collect()
    scores = {
        row["sample_id"]: row for row in run.frame("scores", "rollout-own-2").collect().iter_rows(named=True)
    }
    rows = run.frame("on_policy_train", "train-own-2").collect()
    own = rows.filter(pl.col("sampled_logprobs").is_not_null())
    assert own["sample_id"].to_list() == answers["sample_id"].to_list()
    for row, answer in zip(own.iter_rows(named=True), answers.iter_rows(named=True), strict=True):
        prompt, trained = row["loss_mask"]
        assert row["token_ids"][prompt:] == answer["token_ids"]
        assert trained == len(answer["token_ids"])
        assert row["sampled_logprobs"] == pytest.approx(answer["logprobs"], abs=1e-6)
        theirs = scores[row["sample_id"]]  # of a teacher with another tokenizer
        spans = Spans.of(answer["token_ends"], theirs["token_ends"], ended=answer["finish_reason"] == "stop")
        own_sums, their_sums = spans.sums(answer["logprobs"], theirs["logprobs"])
        assert row["token_weights"] == pytest.approx((their_sums - own_sums)[spans.own_N], abs=1e-5)
    assert own["top_ids"].null_count() == own.height
    given = rows.filter(pl.col("sampled_logprobs").is_null())
    selected = run.frame("verdicts", "select-low").filter(pl.col("kept")).collect()["sample_id"].to_list()
    assert given.height == own.height // 2
    assert {*given["sample_id"]} <= {*selected}
    summary = run.summary("train-own-2")
    assert (summary["own_rows"], summary["off_policy_rows"], summary["untold_share"]) == (10, 5, 0)
    assert 0 < summary["spread_share"] < 0.5  # type: ignore[operator]


def test_a_round_tells_how_far_the_student_is_from_the_teacher(run: Run) -> None:
    answers = run.frame("samples", "rollout-own-1").collect()
    scores = run.frame("scores", "rollout-own-1").collect()
    own, theirs = (frame["logprobs"].list.sum().cast(pl.Float64).sum() for frame in (answers, scores))
    tokens = answers["token_ids"].list.len().sum()
    summary = run.summary("rollout-own-1")
    assert summary["reverse_kl_nats_per_token"] == pytest.approx((own - theirs) / tokens, rel=1e-5)
    assert summary["entropy_nats_per_token"] == pytest.approx(-own / tokens, rel=1e-5)
    assert summary["graded"] == 10
    known = dict(run.frame("questions").select("question_id", "answer").collect().iter_rows())
    right = [
        world.verify(text, known[question])[0]
        for question, text in answers.select("question_id", "text").iter_rows()
    ]
    assert summary["accuracy"] == sum(right) / 10


def test_the_same_recipe_gives_the_same_rounds_over_an_interruption(run: Run, tmp_path: Path) -> None:
    stages = [LOW, {**OWN, "off_policy_share": 1 / 3, "evaluate_rounds": True}]
    ScriptedModel.calls, ScriptedModel.fail_after = 0, 100
    try:
        for _ in range(20):
            try:
                again = run_recipe(tmp_path / "run", stages=stages)
                break
            except BackendError:
                ScriptedModel.calls, ScriptedModel.fail_after = 0, 37
    finally:
        ScriptedModel.fail_after = None
    for name in ("train-own-1", "train-own-2", "train-own"):
        mine, theirs = (each.frame("on_policy_train", name).collect() for each in (again, run))
        assert mine.equals(theirs)
    changed = make_recipe(stages=[LOW, {**stages[1], "clip": 0.3}])
    states = {each.name: each.state for each in Pipeline(changed, make_registry()).plan(tmp_path / "run")}
    assert (states["rollout-own-1"], states["train-own-1"], states["rollout-own-2"]) == (
        "done",
        "changed",
        "changed",
    )


def test_the_first_stage_may_be_on_policy(tmp_path: Path) -> None:
    run = run_recipe(tmp_path / "run", until="rollout-own-1", stages=[{**OWN, "questions": None}])
    assert run.summary("rollout-own-1")["questions"] == 12


def test_answers_over_the_training_context_are_counted(tmp_path: Path) -> None:
    console = ListConsole()
    run = run_recipe(
        tmp_path / "run",
        until="train-own",
        console=console,
        stages=[{**OWN, "rounds": 1, "questions": 12, "trainer": {"max_length": 72}}],
    )
    summary = run.summary("train-own")
    assert summary["too_long"] > 0  # type: ignore[operator]
    assert summary["own_rows"] + summary["too_long"] == 24  # type: ignore[operator]
    assert any(
        "answers are left out, as prompt and answer are over trainer.max_length = 72" in w
        for w in console.warned
    )


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ({"loss": "reverse-kl"}, "doesn't give the likeliest tokens"),
        ({"temperature": 0.7}, "wanted temperature: 1 beside sampled-reverse-kl, got 0.7"),
        ({"off_policy_share": 0.5}, "there is none; take it out"),
        (
            {"trainer": {"trainer": "plain"}},
            "doesn't train on the student's own answers; use one of scripted",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_spent(stage: dict[str, Any], words: str) -> None:
    registry = make_registry()
    registry.trainer("plain", lambda _: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(RecipeError, match=words):
        check_recipe(registry, make_recipe(stages=[{**OWN, **stage}]).settings)
