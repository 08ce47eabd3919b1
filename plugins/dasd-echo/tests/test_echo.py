"""The plugin through the host: recorded responses become samples, and what a recording can't do is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from dasd.api import (
    BackendError,
    InputError,
    Message,
    RecipeError,
    SampleRequest,
    SamplingSpec,
    ScoringSpec,
    resolve_model,
)
from dasd.pipeline.compatibility import check_recipe
from dasd.pipeline.runner import Pipeline
from dasd.plugins.host import PluginHost
from dasd.plugins.recipe import Recipe

QUESTION = "1 + 2 = ?"


def recorded(tmp_path: Path, *lines: Any) -> Path:
    path = tmp_path / "responses.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def settings(path: Path, model: Path | None = None, **options: Any) -> Any:
    override = json.dumps({"path": str(path), **options})
    overrides = [f"teacher.options={override}", "select.selector=random"]
    overrides += [] if model is None else [f"teacher.model={model}"]
    return Recipe.load("demo", overrides, ["echo"]).settings


def sample(
    path: Path, candidates: int = 1, temperature: float = 1.0, cap: int = 100, **options: Any
) -> pl.DataFrame:
    teacher = PluginHost.load(["echo"]).registry.make_teacher(settings(path, **options).teacher)
    messages = (Message("system", "Be kind."), Message("user", f" {QUESTION} "))
    requests = [SampleRequest(f"s{i}", "q", messages, i, 7) for i in range(candidates)]
    return pl.concat(teacher.sample(requests, SamplingSpec("low", temperature, 1.0, cap)))


def test_responses_become_samples_with_the_models_own_tokens(tmp_path: Path) -> None:
    path = recorded(tmp_path, {"question": QUESTION, "responses": ["<think>So 1.</think>3", "é 3"]})
    rows = sample(path, candidates=2)
    assert rows["text"].to_list() == ["<think>So 1.</think>3", "é 3"]
    assert rows["logprobs"].null_count() == 2
    assert rows["finish_reason"].to_list() == ["stop", "stop"]
    for text, ids, ends in rows.select("text", "token_ids", "token_ends").iter_rows():
        assert len(ids) == len(ends)
        assert ends[-2:] == [len(text.encode())] * 2  # the last of the text, and the end token
    assert rows["engine"].unique().to_list() == ["echo"]


def test_reasoning_goes_between_think_tags(tmp_path: Path) -> None:
    path = recorded(
        tmp_path, {"messages": [{"role": "user", "content": QUESTION}], "response": "3", "reasoning": "So."}
    )
    assert sample(path)["text"][0] == "<think>\nSo.\n</think>\n3"


def test_a_tag_that_the_prompt_holds_too_comes_off(tmp_path: Path) -> None:
    directory = tmp_path / "thinker"
    shutil.copytree(resolve_model("dasd:mini-teacher"), directory)
    template = directory / "chat_template.jinja"
    template.write_text(template.read_text().replace("'<|assistant|>' }}", "'<|assistant|><think>\\n' }}"))
    path = recorded(tmp_path, {"question": QUESTION, "response": "3", "reasoning": "So."})
    assert sample(path, model=directory)["text"][0] == "So.\n</think>\n3"


def test_a_recorded_temperature_serves_its_stage_alone(tmp_path: Path) -> None:
    path = recorded(
        tmp_path,
        {"question": QUESTION, "response": "cool", "temperature": 0.6},
        {"question": QUESTION, "response": "hot", "temperature": 1},
    )
    assert sample(path, temperature=0.6)["text"].to_list() == ["cool"]
    assert sample(path, temperature=1.0)["text"].to_list() == ["hot"]


def test_fewer_responses_than_candidates(tmp_path: Path) -> None:
    path = recorded(tmp_path, {"question": QUESTION, "responses": ["a", "b"]})
    with pytest.raises(InputError, match=r"2 responses .*wants 3 or more.*repeat: true"):
        sample(path, candidates=3)
    assert sample(path, candidates=3, repeat=True)["text"].to_list() == ["a", "b", "a"]


def test_the_cap_cuts_between_characters(tmp_path: Path) -> None:
    path = recorded(tmp_path, {"question": QUESTION, "response": "so é and é"})
    whole = len(sample(path)["token_ids"][0])
    assert whole > 3
    for cap in range(1, whole):
        row = sample(path, cap=cap).row(0, named=True)
        assert "so é and é".startswith(row["text"])
        assert len(row["token_ids"]) <= cap
        assert row["finish_reason"] == "length"
        assert (row["token_ends"] or [0])[-1] == len(row["text"].encode())


def test_a_response_that_was_cut_off_has_no_end_token(tmp_path: Path) -> None:
    path = recorded(tmp_path, {"question": QUESTION, "response": "so", "finish_reason": "length"})
    row = sample(path).row(0, named=True)
    assert row["finish_reason"] == "length"
    assert row["token_ends"].count(2) == 1


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"question": "1 +', "line 1"),
        ([1], "wanted a JSON object, got list"),
        ({"response": "3"}, "wanted `question`"),
        ({"question": "x"}, "wanted `response`"),
        ({"question": "x", "responses": []}, "wanted `response`"),
        ({"question": "x", "response": "3", "finish_reason": "tool"}, "wanted stop or length"),
        ({"question": "x", "response": "3", "temperature": "hot"}, "temperature: wanted a number"),
        ({"question": "x", "response": "3", "reasoning": 1}, "reasoning: wanted a text"),
        ("", "holds no responses"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, line: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        sample(recorded(tmp_path, line))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.jsonl: recorded responses can't be read"):
        sample(tmp_path / "nowhere.jsonl")


def test_what_a_recording_cant_do(tmp_path: Path) -> None:
    path = recorded(tmp_path, {"question": QUESTION, "response": "3"})
    loaded = settings(path)
    registry = PluginHost.load(["echo"]).registry
    with pytest.raises(RecipeError, match="can't continue"):
        check_recipe(registry, loaded)
    off_policy = loaded.model_copy(update={"stages": loaded.stages[:1]})
    check_recipe(registry, off_policy)
    divergence = loaded.select.model_copy(update={"selector": "divergence"})
    with pytest.raises(RecipeError, match=r"gives none; use one of .*random"):
        check_recipe(registry, off_policy.model_copy(update={"select": divergence}))
    teacher = registry.make_teacher(loaded.teacher)
    with pytest.raises(BackendError, match="can't continue"):
        list(teacher.continue_([], SamplingSpec("mix", 1.0, 1.0, 8)))
    with pytest.raises(BackendError, match="can't score"):
        list(teacher.score([], ScoringSpec("score", 64)))
    with pytest.raises(RecipeError, match="did you mean 'repeat'"):
        check_recipe(registry, settings(path, repaet=True))


def test_a_whole_run_up_to_selection(tmp_path: Path) -> None:
    sums = [(f"What is {a} + {b}?", a + b) for a in (2, 3) for b in (4, 5)]
    questions = tmp_path / "questions.jsonl"
    questions.write_text("\n".join(json.dumps({"question": q, "answer": str(s)}) for q, s in sums))
    path = recorded(
        tmp_path,
        *(
            {"question": q, "responses": [f"<think>So {s}.</think>{s}", f"<think>Now {s}!</think>{s}"]}
            for q, s in sums
        ),
    )
    recipe = {
        "teacher": {"model": "dasd:mini-teacher", "options": {"path": str(path)}},
        "student": {"model": "dasd:mini-student", "precision": "fp32", "device": "cpu"},
        "questions": {
            "train": [{"source": "file", "options": {"path": str(questions), "verifier": "number"}}]
        },
        "sampling": {"candidates": 2, "max_tokens": 64},
        "filters": {"answer": True},
        "select": {"selector": "longest"},
        "stages": [{"name": "low", "temperature": 1.0}],
        "trainer": {"max_length": 256},
    }
    pipeline = Pipeline.from_recipe(recipe, plugins=["echo"])
    run = pipeline.run(tmp_path / "run", until="select")
    assert run.frame("samples").collect().height == 8
    kept = run.frame("verdicts", "select-low").collect()
    assert kept["kept"].sum() == 4
    assert {stage.state for stage in pipeline.plan(tmp_path / "run")[:6]} == {"done"}
    # Another recording is another teacher.
    path.write_text(path.read_text().replace("Now", "Then"))
    states = {
        stage.name: stage.state
        for stage in Pipeline.from_recipe(recipe, plugins=["echo"]).plan(tmp_path / "run")
    }
    assert (states["questions"], states["sample-low"]) == ("done", "changed")
