"""The stages together, on scripted models: what they write, and that an interruption changes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from math import ceil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.stage_run import RECIPE, ListConsole, ScriptedModel, run_recipe

from dasd.errors import BackendError
from dasd.models.files import resolve_model
from dasd.models.tokens.chat import ChatTokenizer
from dasd.recipe.model_settings import ModelSettings
from dasd.store import Run
from dasd.training.loaded_rows import expand_runs

FRAMES = ("questions", "samples", "scores", "verdicts", "sentences", "train", "eval", "metrics", "losses")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_recipe(tmp_path_factory.mktemp("runs") / "whole")


@pytest.fixture
def unlimited() -> Iterator[None]:
    yield
    ScriptedModel.fail_after = None


def test_samples_are_in_the_order_of_the_requests(run: Run) -> None:
    rows = run.frame("samples", "sample-low").collect()
    train = run.frame("questions").filter(pl.col("split") == "train").collect()["question_id"]
    assert rows["question_id"].to_list() == [question for question in train for _ in range(3)]
    assert rows["candidate"].to_list() == [0, 1, 2] * 12
    assert rows["sample_id"].n_unique() == 36
    everything = run.frame("samples").collect()
    assert everything["sample_id"].n_unique() == everything.height
    assert everything["seed"].n_unique() == everything.height
    heldout = run.frame("samples", "sample-heldout").collect()
    assert heldout.select("temperature", "top_p").unique().rows() == [(1.0, 1.0)]
    assert heldout.height == 4


@pytest.mark.parametrize("interruptions", [(3, 130, 180), (25, 80, 200)])
def test_an_interrupted_run_ends_with_the_same_rows(
    run: Run, tmp_path: Path, interruptions: tuple[int, ...], unlimited: None
) -> None:
    ScriptedModel.calls = 0
    for calls in interruptions:
        ScriptedModel.fail_after = calls
        with pytest.raises(BackendError):
            run_recipe(tmp_path)
        assert ScriptedModel.calls == calls
    ScriptedModel.fail_after = None
    again = run_recipe(tmp_path)
    for frame in FRAMES:
        assert again.frame(frame).collect().equals(run.frame(frame).collect()), frame


def test_models_in_another_place_draw_the_same(tmp_path: Path) -> None:
    drawn, recipes = [], []
    for place in ("here", "there"):
        models: dict[str, dict[str, str]] = {}
        for role in ("teacher", "student"):
            models[role] = {"model": str(tmp_path / place / role), "backend": "scripted"}
            shutil.copytree(resolve_model(f"dasd:mini-{role}"), models[role]["model"])
        recipes.append({"select": {"selector": "random"}, **models})
        run = run_recipe(tmp_path / f"run-{place}", "mix-mixed", **recipes[-1])
        drawn.append(run.frame("samples").select("sample_id", "seed", "text", "stage").collect())
    assert drawn[0].equals(drawn[1])
    assert set(drawn[0]["stage"]) >= {"sample-low", "sample-high", "mix-mixed-student", "mix-mixed"}
    ScriptedModel.calls = 0
    run_recipe(tmp_path / "run-here", "mix-mixed", **recipes[1])
    assert ScriptedModel.calls == 0, "a run whose models moved makes no stage again"


def test_only_what_is_left_is_judged_scored_and_selected(run: Run) -> None:
    for name in ("low", "high"):
        ids = run.frame("samples", f"sample-{name}").collect()["sample_id"]
        for stage in (f"filter-{name}", f"dedup-{name}", f"select-{name}"):
            verdicts = run.frame("verdicts", stage).collect()
            assert verdicts["sample_id"].to_list() == ids.to_list(), stage
            assert set(verdicts["stage"]) == {stage}
            ids = verdicts.filter(pl.col("kept"))["sample_id"]
            if stage.startswith("dedup"):
                assert run.frame("scores", f"score-{name}").collect()["sample_id"].to_list() == ids.to_list()
    wrong = run.frame("verdicts", "filter-low").filter(pl.col("reason") == "answer").collect()
    texts = run.frame("samples", "sample-low").filter(pl.col("sample_id").is_in(wrong["sample_id"].to_list()))
    assert wrong.height and texts.collect()["text"].str.ends_with(">99").all()


def test_training_rows_are_what_is_served(run: Run) -> None:
    chat = ChatTokenizer.load(ModelSettings(model="dasd:mini-student"))
    rows = run.frame("train", "train-low").collect()
    selected = run.frame("verdicts", "select-low").filter(pl.col("kept")).collect()["sample_id"]
    assert set(rows["sample_id"]) == set(selected)
    texts = dict(run.frame("samples", "sample-low").select("sample_id", "text").collect().iter_rows())
    for sample_id, tokens, mask in rows.select("sample_id", "token_ids", "loss_mask").iter_rows():
        trained = expand_runs(mask)
        assert len(trained) == len(tokens)
        response = [token for token, on in zip(tokens, trained, strict=True) if on]
        assert response[-1] == chat.eos_id
        assert chat.decode(response[:-1]) == texts[sample_id]
        prompt = chat.decode([token for token, on in zip(tokens, trained, strict=True) if not on])
        assert "= ?" in prompt and "<think>" not in prompt


def test_mixed_responses_start_with_the_students_and_are_balanced(run: Run) -> None:
    rows = run.frame("samples", "mix-mixed").collect()
    answers = rows.filter(pl.col("prefix_end") == 0)
    whole = rows.filter(pl.col("prefix_end") > 0)
    drifted = answers.filter(pl.col("finish_reason") == "length")
    assert set(answers["stage"]) == {"mix-mixed-student"} and set(whole["stage"]) == {"mix-mixed"}
    assert drifted.height == whole.height > 0
    joined = whole.join(drifted, on="question_id", suffix="_student")
    for text, begun, end, ends in joined.select(
        "text", "text_student", "prefix_end", "token_ends_student"
    ).iter_rows():
        assert text.encode()[:end] == begun.encode()[:end]
        assert end in ends[ceil(len(ends) * 0.5) :]
    lengths = (
        run.frame("scores", "score-high")
        .select("sample_id", tokens=pl.col("token_ids").list.len())
        .join(run.frame("verdicts", "select-high").filter(pl.col("kept")).select("sample_id"), on="sample_id")
        .join(run.frame("samples", "sample-high").select("sample_id", "question_id"), on="sample_id")
        .collect()
    )
    capped = drifted.join(lengths, on="question_id", suffix="_teacher")
    used = capped["token_ids"].list.len().to_list()
    assert used == [ceil(1.5 * tokens) for tokens in capped["tokens"]]
    kept = run.frame("verdicts", "mix-mixed").filter(pl.col("kept")).collect()["sample_id"]
    assert set(kept) <= set(whole["sample_id"])
    trained = run.frame("train", "train-mixed").collect()["sample_id"]
    off_policy = [sample_id for sample_id in trained if sample_id not in set(kept)]
    selected = run.frame("verdicts", "select-high").filter(pl.col("kept")).collect()["sample_id"]
    assert set(kept) <= set(trained) and set(off_policy) <= set(selected)
    assert len(off_policy) == min(2 * len(kept), len(selected))


def test_the_students_part_is_masked_on_demand(run: Run, tmp_path: Path) -> None:
    stages = [*RECIPE["stages"][:2], {**RECIPE["stages"][2], "train_prefix": False}]
    other = run_recipe(tmp_path, "train-mixed", stages=stages)
    mixed = run.frame("samples", "mix-mixed").filter(pl.col("prefix_end") > 0).collect()
    chat = ChatTokenizer.load(ModelSettings(model="dasd:mini-student"))
    ends = dict(mixed.select("sample_id", "prefix_end").iter_rows())
    texts = dict(mixed.select("sample_id", "text").iter_rows())
    checked = 0
    for sample_id, tokens, mask in (
        other.frame("train", "train-mixed")
        .select("sample_id", "token_ids", "loss_mask")
        .collect()
        .iter_rows()
    ):
        if sample_id in ends:
            trained = chat.decode(np.array(tokens)[expand_runs(mask)].tolist()[:-1])
            assert texts[sample_id].endswith(trained)
            assert len(texts[sample_id].encode()) - len(trained.encode()) <= ends[sample_id]
            checked += 1
    assert checked


def test_an_answer_that_leaves_the_teacher_no_room_is_set_aside(tmp_path: Path) -> None:
    """Of a small context a quarter is an answer's."""
    stages = [RECIPE["stages"][0], {**RECIPE["stages"][2], "cap": 1.5}]
    found = run_recipe(
        tmp_path,
        "mix-mixed",
        stages=stages,
        teacher={"options": {"max_model_len": 84}},
        evaluation={"heldout": 0},
    )
    verdicts = found.frame("verdicts", "mix-mixed").collect()
    full = verdicts.filter(pl.col("reason") == "no_room")
    assert dict(found.summary("mix-mixed")["dropped"])["no_room"] == full.height > 0  # type: ignore[arg-type,call-overload]
    assert "of the teacher's context of 84: no room for an answer of 21" in full["detail"][0]
    samples = found.frame("samples", "mix-mixed").collect()
    drifted = samples.filter((pl.col("prefix_end") == 0) & (pl.col("finish_reason") == "length"))
    assert set(full["sample_id"]) <= set(drifted["sample_id"])
    assert samples.filter(pl.col("prefix_end") > 0).height == drifted.height - full.height


def test_nothing_mixed_passes_the_checkpoint_on(tmp_path: Path) -> None:
    console = ListConsole()
    stages = [*RECIPE["stages"][:2], {**RECIPE["stages"][2], "cap": 99.0}]
    found = run_recipe(tmp_path, "train-mixed", console, stages=stages)
    assert any("nothing mixed" in text for text in console.warned)
    assert found.summary("train-mixed")["skipped"] is True
    assert any(event.kind == "training_skipped" for event in found.events())
    weights = [tmp_path / "checkpoints" / name / "model.safetensors" for name in ("stage2", "stage3")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_every_checkpoint_is_measured(run: Run) -> None:
    metrics = run.frame("metrics").collect()
    for checkpoint in ("before", "low", "high", "mixed"):
        mine = metrics.filter(pl.col("checkpoint") == checkpoint)
        assert set(mine["metric"]) == {"accuracy", "length_tokens", "cut_off_rate", "kl_nats_per_response"}
    assert "accuracy" in set(metrics.filter(pl.col("checkpoint") == "teacher")["metric"])
    assert run.frame("eval", "evaluate-low").collect().height == 12
    losses = run.frame("losses").collect()
    assert losses["stage"].unique(maintain_order=True).to_list() == ["low", "high", "mixed"]


def test_rows_do_not_hold_the_run_directory(run: Run) -> None:
    for frame in ("samples", "scores"):
        models = run.frame(frame).collect()["model"].unique().to_list()
        assert not [model for model in models if str(run.directory) in model], frame
