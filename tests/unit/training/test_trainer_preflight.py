"""Wrong labels are refused before a weight changes, with words and the labels themselves."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from tests.stage_run import ListConsole, run_recipe
from tests.trainer_run import END, VOCABULARY, make_model, make_rows, spec, write_shards

from dasd.api import InputError, SchemaError, TrainingError
from dasd.training.preflight import preflight


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("preflight")
    make_model(place / "model")
    return place


def altered(column: str, value: object, row: int = 7) -> pl.DataFrame:
    """Ten rows of 20 tokens, one of them wrong."""
    frame = make_rows(10, low=20, high=21)
    values = frame[column].to_list()
    values[row] = value
    return frame.with_columns(pl.Series(column, values, dtype=frame.schema[column]))


def test_counts_and_rendering(root: Path) -> None:
    frame = make_rows(10)
    found = preflight(write_shards(root / "good", frame), spec(root, packing=False, epochs=1.5))
    runs = frame["loss_mask"].to_list()
    assert found.rows == 10
    assert found.tokens == frame["token_ids"].list.len().sum()
    assert found.trained_tokens == sum(trained for _, trained in runs)
    assert (found.packs, found.steps) == (15, 4)
    title, masked, trained = found.rendering.splitlines()
    first = frame["token_ids"][0].to_list()
    assert title.startswith("labels of sample sample-0: ")
    assert masked.split()[:2] == ["masked", str(runs[0][0])]
    assert masked.endswith("|".join(f"w{i}" for i in first[: runs[0][0]]))
    assert trained.split()[:2] == ["trained", str(runs[0][1])]
    assert trained.endswith(f"|w{END}")


GOOD = [5] * 19 + [END]


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("loss_mask", [0, 20], "don't mask their prompt"),
        ("loss_mask", [5, 14, 1], "mask their end token"),
        ("loss_mask", [20], "train no token"),
        ("loss_mask", [5, 14], "don't add up"),
        ("loss_mask", [], "don't add up"),
        ("token_ids", [5] * 20, "don't end with the end token"),
        ("token_ids", [*GOOD[1:-1], VOCABULARY, END], f"outside the vocabulary of {VOCABULARY}"),
        ("token_ids", [5] * 64 + [END], r"over trainer.max_length = 64"),
        ("token_ids", [], "have no tokens"),
        ("weight", 0.0, "weight"),
        ("weight", float("nan"), "weight"),
    ],
)
def test_one_wrong_row_is_named_and_shown(root: Path, column: str, value: object, words: str) -> None:
    shards = write_shards(root / "wrong", altered(column, value))
    with pytest.raises(TrainingError, match=words) as caught:
        preflight(shards, spec(root))
    message = str(caught.value)
    assert "1 of 10 rows" in message
    assert "row 7 (sample sample-7" in message
    assert "labels of sample sample-7" in message


def test_an_end_that_is_trained_before_empty_runs_is_fine(root: Path) -> None:
    shards = write_shards(root / "trailing", altered("loss_mask", [5, 15, 0]))
    assert preflight(shards, spec(root)).rows == 10


def test_padding_that_is_the_end_token_is_pointed_at(tmp_path: Path) -> None:
    make_model(tmp_path / "model", pad=END)
    shards = write_shards(tmp_path / "rows", altered("loss_mask", [5, 14, 1]))
    with pytest.raises(TrainingError, match="padding token is the end token"):
        preflight(shards, spec(tmp_path))
    # Rows that do train their end are fine: no mask is made from padding here.
    assert preflight(write_shards(tmp_path / "good", make_rows(4)), spec(tmp_path)).rows == 4


def test_any_end_token_of_the_generation_config_ends_a_row(tmp_path: Path) -> None:
    make_model(tmp_path / "model")
    shards = write_shards(tmp_path / "rows", altered("token_ids", [5] * 20))
    (tmp_path / "model" / "generation_config.json").write_text(json.dumps({"eos_token_id": [END, 5]}))
    assert preflight(shards, spec(tmp_path)).rows == 10


def test_no_rows_no_shards_and_foreign_shards(root: Path) -> None:
    with pytest.raises(TrainingError, match="no rows"):
        preflight(write_shards(root / "none", make_rows(0)), spec(root))
    with pytest.raises(TrainingError, match="no shards"):
        preflight([], spec(root))
    foreign = write_shards(root / "foreign", make_rows(4).drop("weight"))
    with pytest.raises(SchemaError, match="'weight'"):
        preflight(foreign, spec(root))
    unlike = write_shards(root / "unlike", make_rows(4).with_columns(pl.col("weight").cast(pl.Float64)))
    with pytest.raises(SchemaError, match="Float64"):
        preflight(unlike, spec(root))


def test_a_model_without_config_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(InputError, match="its config can't be loaded"):
        preflight(write_shards(root / "some", make_rows(2)), spec(tmp_path))


def test_no_trainer_gets_rows_with_wrong_labels(tmp_path: Path) -> None:
    """Responses that were cut off have no end to train; the trainer, a plugin's for all that, isn't called."""
    cut = {
        "filters": {"truncated": False, "structure": "any", "answer": False},
        "sampling": {"max_tokens": 9},
    }
    with pytest.raises(TrainingError, match="don't end with the end token"):
        run_recipe(tmp_path, until="train-low", **cut)
    assert not list(tmp_path.rglob("model.safetensors"))


def test_labels_are_told_once_a_training_and_shown_to_who_asks(tmp_path: Path) -> None:
    console = ListConsole(verbose=True)
    run = run_recipe(tmp_path, until="train-low", console=console)
    example = str(run.summary("train-low")["example"])
    title, tokens = example.split("\n", 1)
    assert [text for text in console.said if "labels of" in text] == [f"train-low: {title}"]
    assert tokens in console.said
