"""Stage ``sample`` over files of responses: same rows as sampled ones, bad rows set aside, resume, refusals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.stage_run import RECIPE, ListConsole, ScriptedModel, make_recipe, make_registry, merged, run_recipe
from tests.think_pairs import thinking_model
from tests.tiny_models import byte_level, chat

from dasd.base.progress import Console
from dasd.base.schemas import QUESTIONS, SET_ASIDE
from dasd.errors import BackendError, InputError, RecipeError
from dasd.models import executors
from dasd.models.tokens.chat import ChatTokenizer
from dasd.pipeline.compatibility import check_recipe
from dasd.pipeline.runner import Pipeline
from dasd.pipeline.stages.from_files_rows import GivenReader
from dasd.plugins.recipe import Recipe
from dasd.recipe.stage_settings import OffPolicyStage
from dasd.store import Run


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose teacher was sampled, up to the selection."""
    return run_recipe(tmp_path_factory.mktemp("sampled") / "run", until="select-low")


@pytest.fixture(scope="module")
def rows(sampled: Run) -> pl.DataFrame:
    return sampled.frame("samples", "sample-low").collect()


def given(
    directory: Path, files: str | Path | Sequence[Path], until: str = "sample-low", **changes: Any
) -> tuple[Run, ListConsole]:
    """Run with the low stage's responses from ``files``; everything else as in ``sampled``."""
    console = ListConsole()
    paths = str(files) if isinstance(files, str | Path) else [str(path) for path in files]
    stages = [{"name": "low", "temperature": 0.6, "samples": paths}]
    return run_recipe(directory, until, console, **merged({"stages": stages}, changes)), console


def asked(sampled: Run) -> dict[str, str]:
    """The text of each training question."""
    questions = sampled.frame("questions").filter(pl.col("split") == "train").collect()
    return {i: cell[-1]["content"] for i, cell in questions.select("question_id", "messages").iter_rows()}


def plain(sampled: Run, rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Questions and texts, nothing else."""
    texts = asked(sampled)
    return [{"question": texts[q], "output": t} for q, t in rows.select("question_id", "text").iter_rows()]


def write(path: Path, values: Sequence[object]) -> Path:
    lines = [value if isinstance(value, str) else json.dumps(value) for value in values]
    path.write_text("\n".join(lines) + "\n")
    return path


# -- good files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_the_teachers_own_samples_give_the_same_run(
    tmp_path: Path, sampled: Run, rows: pl.DataFrame, suffix: str
) -> None:
    path = tmp_path / f"low.{suffix}"
    shuffled = rows.sample(fraction=1, shuffle=True, seed=5)
    shuffled.write_parquet(path) if suffix == "parquet" else shuffled.write_ndjson(path)
    run, _ = given(tmp_path / "run", path, until="select-low")
    found = run.frame("samples", "sample-low").collect()
    assert_frame_equal(found, rows)
    kept = {
        name: set(r.frame("verdicts", "select-low").filter(pl.col("kept")).collect()["sample_id"])
        for name, r in (("sampled", sampled), ("given", run))
    }
    assert kept["sampled"] == kept["given"]


def test_texts_alone_are_tokenised_and_scored_by_the_teacher(
    tmp_path: Path, sampled: Run, rows: pl.DataFrame
) -> None:
    run, _ = given(tmp_path / "run", write(tmp_path / "low.jsonl", plain(sampled, rows)))
    found = run.frame("samples", "sample-low").collect()
    same = ["question_id", "candidate", "text", "token_ids", "token_ends", "logprobs", "logprobs_mode"]
    assert_frame_equal(found.select(same), rows.select(same))
    assert found["engine"].unique().to_list() == ["file"]
    assert found["temperature"].unique().round(3).to_list() == [pytest.approx(0.6)]
    summary = run.summary("sample-low")
    assert (summary["responses"], summary["scored_by_teacher"], summary["set_aside"]) == (36, 36, 0)


def test_a_selector_that_needs_no_logprobs_needs_no_teacher(
    tmp_path: Path, sampled: Run, rows: pl.DataFrame
) -> None:
    path = write(tmp_path / "low.jsonl", plain(sampled, rows))
    ScriptedModel.calls = 0
    run, _ = given(
        tmp_path / "run", path, until="dedup-low", select={"selector": "random"}, evaluation={"heldout": 0}
    )
    assert ScriptedModel.calls == 0
    found = run.frame("samples", "sample-low").collect()
    assert found["logprobs"].null_count() == 36
    assert_frame_equal(found.select("token_ids", "token_ends"), rows.select("token_ids", "token_ends"))


def test_several_files_and_the_published_layout_with_texts(tmp_path: Path, rows: pl.DataFrame) -> None:
    published = rows.select("question_id", "token_ids", "logprobs", sample_uuid="sample_id", response="text")
    parts = [tmp_path / "a.parquet", tmp_path / "b.jsonl"]
    published.head(20).write_parquet(parts[0])
    published.tail(16).write_ndjson(parts[1])
    run, _ = given(tmp_path / "run", parts)
    found = run.frame("samples", "sample-low").collect()
    same = ["sample_id", "question_id", "candidate", "text", "token_ids", "token_ends", "logprobs"]
    assert_frame_equal(found.select(same), rows.select(same))
    assert run.summary("sample-low")["scored_by_teacher"] == 0


def test_a_response_beyond_the_teachers_context_is_left_to_the_length_filter(
    tmp_path: Path, sampled: Run, rows: pl.DataFrame
) -> None:
    values = plain(sampled, rows)
    values[3]["output"] = "<think>" + "So 1 + 1 = 2. " * 1500 + "</think>2"
    run, _ = given(tmp_path / "run", write(tmp_path / "low.jsonl", values), until="select-low")
    long = run.frame("samples", "sample-low").filter(pl.col("logprobs").is_null()).collect()
    assert long["text"].to_list() == [values[3]["output"]]
    verdict = run.frame("verdicts", "filter-low").filter(pl.col("sample_id") == long["sample_id"][0])
    assert verdict.collect()["reason"].to_list() == ["length"]


def test_an_edited_file_is_read_again_and_a_moved_one_is_not(
    tmp_path: Path, sampled: Run, rows: pl.DataFrame
) -> None:
    values = plain(sampled, rows)
    path = write(tmp_path / "low.jsonl", values)
    given(tmp_path / "run", path)
    moved = path.rename(tmp_path / "moved.jsonl")
    ScriptedModel.calls = 0
    given(tmp_path / "run", moved)
    assert ScriptedModel.calls == 0
    write(moved, values[:-1])
    second, _ = given(tmp_path / "run", moved)
    assert second.summary("sample-low")["responses"] == 35


def test_an_interrupted_stage_goes_on_and_ends_with_the_same_rows(
    tmp_path: Path, sampled: Run, rows: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "low.jsonl", [*plain(sampled, rows), '{"question": "1+'])
    whole, _ = given(tmp_path / "whole", path)
    monkeypatch.setattr(ScriptedModel, "calls", 0)
    monkeypatch.setattr(ScriptedModel, "fail_after", 25)
    with pytest.raises(BackendError, match="stops here"):
        given(tmp_path / "cut", path)
    monkeypatch.setattr(ScriptedModel, "fail_after", None)
    monkeypatch.setattr(ScriptedModel, "calls", 0)
    cut, _ = given(tmp_path / "cut", path)
    assert ScriptedModel.calls == 36 - 25, "what was finished is not asked for again"
    assert_frame_equal(
        cut.frame("samples", "sample-low").collect(), whole.frame("samples", "sample-low").collect()
    )
    assert cut.summary("sample-low") == whole.summary("sample-low")


def test_relative_paths_are_those_beside_the_recipe_and_one_path_is_a_list(tmp_path: Path) -> None:
    def loaded(samples: object, *overrides: str) -> tuple[str, ...]:
        stages = [{"name": "low", "temperature": 0.6, "samples": samples}]
        (tmp_path / "r.yaml").write_text(json.dumps(merged(RECIPE, {"stages": stages})))
        stage = Recipe.load(tmp_path / "r.yaml", overrides).settings.stages[0]
        assert isinstance(stage, OffPolicyStage)
        return stage.samples

    assert loaded("a.jsonl") == (str(tmp_path / "a.jsonl"),)
    assert loaded(["a.jsonl", "b.parquet"]) == (str(tmp_path / "a.jsonl"), str(tmp_path / "b.parquet"))
    assert loaded([], "stages.low.samples=/c.jsonl") == ("/c.jsonl",)
    with pytest.raises(RecipeError, match=r"stages\.0\.samples: wanted a list"):
        loaded(5)


# -- bad rows -------------------------------------------------------------------------------------------


def test_bad_rows_are_set_aside_with_their_reasons_and_counted(
    tmp_path: Path, sampled: Run, rows: pl.DataFrame
) -> None:
    good = json.loads(rows.drop("stage").write_json())
    held = sampled.frame("questions").filter(pl.col("split") == "eval").collect()["question_id"][0]

    def spoiled(**changes: object) -> dict[str, object]:
        return {**good[0], "sample_id": "new", **changes}

    ids, logprobs = good[0]["token_ids"], good[0]["logprobs"]
    bad: list[tuple[object, str]] = [
        ('{"text": "to', "not JSON"),
        ([1], "wanted a JSON object"),
        (spoiled(text=None), "no response: wanted a column text or response or output"),
        (spoiled(question_id=None), "no question: wanted a column question_id or messages"),
        (spoiled(question_id="nobody"), "not among the recipe's training questions"),
        (spoiled(question="1 + 1?"), "not among the recipe's training questions"),
        (spoiled(question_id=held), "an evaluation question"),
        (spoiled(text=good[0]["text"] + "!"), "their bytes are not the text; they part at character"),
        (spoiled(token_ids=ids[1:], logprobs=logprobs[1:]), "their bytes are not the text"),
        (spoiled(token_ids=ids[:-1]), f"{len(ids) - 1} token_ids and {len(ids)} logprobs"),
        (spoiled(token_ids=None), "logprobs without token_ids"),
        (spoiled(token_ids=[10**6, *ids[1:]]), "1000000 is no token"),
        (spoiled(logprobs=[0.5, *logprobs[1:]]), "logprobs.0: wanted the logarithm of a probability, got 0.5"),
        (spoiled(finish_reason="abort"), "finish_reason: wanted 'stop' or 'length', got 'abort'"),
        (spoiled(temperature=-1), "temperature: wanted at least 0, got -1"),
        (spoiled(seed="3"), "seed"),
        (good[0], "the same sample_id"),
    ]  # fmt: skip
    path = write(tmp_path / "low.jsonl", [*good, *(value for value, _ in bad)])
    run, console = given(tmp_path / "run", path)
    assert run.summary("sample-low")["set_aside"] == len(bad)
    assert run.summary("sample-low")["responses"] == len(good)
    listed = [
        json.loads(line) for line in (run.directory / "set-aside-sample-low.jsonl").read_text().splitlines()
    ]
    assert [line["row"] for line in listed] == list(range(len(good) + 1, len(good) + len(bad) + 1))
    for line, (_, words) in zip(listed, bad, strict=True):
        assert words in line["reason"]
    (warned,) = [text for text in console.warned if "set aside" in text]
    assert "low.jsonl" in warned and f"row {len(good) + 1} " in warned


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], "holds no response"),
        ([{"question_id": "x", "answer": "1"}], "1 of 1 rows can't be used, first row 1: its question"),
        ([{"output": "x"}], "no question: wanted a column question_id"),
        (['{"torn'], "not JSON"),
    ],
)
def test_a_file_without_use_is_refused_by_name(tmp_path: Path, values: list[object], words: str) -> None:
    path = write(tmp_path / "low.jsonl", values)
    with pytest.raises(InputError, match=r"low\.jsonl") as error:
        given(tmp_path / "run", path)
    assert words in str(error.value)


def test_missing_and_torn_files_are_refused_by_name(tmp_path: Path, rows: pl.DataFrame) -> None:
    with pytest.raises(InputError, match=r"stage 'low': .*none\.parquet can't be read"):
        given(tmp_path / "run", tmp_path / "none.parquet")
    path = tmp_path / "low.parquet"
    rows.write_parquet(path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match=r"low\.parquet: wanted a Parquet file"):
        given(tmp_path / "run", path)
    rows.drop("text").write_parquet(path)
    with pytest.raises(InputError, match=r"low\.parquet: 36 of 36 rows .* no response: wanted a column text"):
        given(tmp_path / "run", path)


def test_logprobs_that_nobody_can_give_are_refused(tmp_path: Path, sampled: Run, rows: pl.DataFrame) -> None:
    path = write(tmp_path / "low.jsonl", plain(sampled, rows))
    registry = make_registry()
    executors.dasd_register(registry)
    registry.teacher("silent", ScriptedModel, gives_logprobs=False)
    recipe = make_recipe(
        teacher={"backend": "silent"},
        stages=[{"name": "low", "temperature": 0.6, "samples": str(path)}],
    )
    check_recipe(registry, recipe.settings)
    with pytest.raises(InputError, match=r"low\.jsonl, row 1: no log-probabilities.*token_ids and logprobs"):
        Pipeline(recipe, registry, console=Console(quiet=True)).run(tmp_path / "run", until="sample-low")


# -- tokens ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["byte_level", "characters"])
def test_tokens_tile_the_text_with_and_without_the_end_token(kind: str) -> None:
    tokenizer = chat(kind)
    questions = pl.DataFrame(
        [("q", [{"role": "user", "content": "?"}], "d", None, None, "s", "train")],
        schema=dict(QUESTIONS.columns),
        orient="row",
    )
    defaults = {"temperature": 0.6, "top_p": 1.0, "model": "m"}
    reader = GivenReader([questions], SET_ASIDE.empty(), "system", tokenizer, "sample-low", defaults, "m")
    text = "naïve café, 中文。"
    for ended in (True, False):
        ids, ends = tokenizer.encode_response(text, ended)
        row, _ = reader.sample(
            {"question": "?", "text": text, "token_ids": ids, "logprobs": [-1] * len(ids)}, 0
        )
        assert (row["token_ids"], row["token_ends"]) == (ids, ends)
    if kind == "byte_level":
        cut = tokenizer.encode_response("龍", ended=False)[0][:-1]
        row, _ = reader.sample({"question_id": "q", "text": "\ufffd", "token_ids": cut}, 0)
        assert row["token_ends"][-1] == 3  # type: ignore[index]


def test_a_tag_that_the_prompt_holds_too_is_taken_off_with_its_tokens() -> None:
    wrapped = byte_level()
    wrapped.chat_template += "{% if add_generation_prompt %}{{ '<think>\n' }}{% endif %}"
    tokenizer = ChatTokenizer(wrapped, "opens")
    questions = pl.DataFrame(
        [("q", [{"role": "user", "content": "?"}], "d", None, None, "s", "train")],
        schema=dict(QUESTIONS.columns),
        orient="row",
    )
    reader = GivenReader(
        [questions],
        SET_ASIDE.empty(),
        None,
        tokenizer,
        "sample-low",
        {"temperature": 0.6, "top_p": 1.0, "model": "m"},
        "m",
    )
    text = "So 9.</think>9"
    ids, ends = tokenizer.encode_response(f"<think>\n{text}", ended=True)
    logprobs = [-float(n + 1) for n in range(len(ids))]
    tokens = {"token_ids": ids, "logprobs": logprobs}
    skip = sum(end <= 8 for end in ends)
    for value, kept in (({}, None), (tokens, logprobs[skip:])):
        row, doubled = reader.sample({"question_id": "q", "text": f"<think>\n{text}", **value}, 0)
        assert doubled and row["text"] == text and row["logprobs"] == kept
        assert (row["token_ids"], row["token_ends"]) == tokenizer.encode_response(text, ended=True)
    assert not reader.sample({"question_id": "q", "text": text}, 0)[1]
    # A token that reaches out of the tag into the response: the row can't be used.
    text = "<think>\n\n\nSo 9.</think>9"
    ids, _ = tokenizer.encode_response(text, ended=True)
    with pytest.raises(ValueError, match="no token ends where that tag"):
        reader.sample({"question_id": "q", "text": text, "token_ids": ids}, 0)


def test_doubled_tags_are_told_once_and_counted(tmp_path: Path, sampled: Run, rows: pl.DataFrame) -> None:
    model = thinking_model(tmp_path / "thinker")
    teacher = {"model": str(model), "chat_template_options": {"tag": "opens"}}
    path = write(tmp_path / "low.jsonl", plain(sampled, rows))
    run, console = given(tmp_path / "run", path, "filter-low", teacher=teacher)
    found = run.frame("samples", "sample-low").collect()
    assert found["text"].to_list() == [text.removeprefix("<think>") for text in rows["text"]]
    assert run.summary("sample-low")["tags_taken_off"] == 36
    told = [text for text in console.warned if "writes into the prompt" in text]
    assert len(told) == 1 and "36 of 36 responses" in told[0]
    kept = {
        name: r.frame("verdicts", "filter-low").collect()["kept"].to_list()
        for name, r in (("sampled", sampled), ("given", run))
    }
    assert kept["given"] == kept["sampled"], "each has its reasoning between one pair of tags"
