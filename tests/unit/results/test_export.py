"""Exports of a real small run: which rows, in which form, what is said to be lost, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from tests.stage_run import ListConsole, run_recipe

from dasd.api import Exported, ExportedFile, ExportRun, RowsFile
from dasd.errors import DiskFullError, InputError, PluginError, RecipeError, SchemaError
from dasd.plugins.host import PluginHost
from dasd.plugins.registry import Registry
from dasd.results.export import MANIFEST, ExportManifest, export_run
from dasd.store import Run

FORMATS = ("trl", "llamafactory", "sharegpt", "text", "logprobs")
SYSTEM = "You are a helpful assistant."


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Three trainings, the last of mixed policy with the student's prefix masked, and 2 mixed rows at least."""
    stages = [
        {"name": "low", "kind": "off-policy", "temperature": 0.6},
        {"name": "high", "kind": "off-policy", "temperature": 1.0},
        {"name": "mixed", "kind": "mixed-policy", "train_prefix": False, "balance": 1.0},
    ]
    return run_recipe(
        tmp_path_factory.mktemp("export") / "run",
        until="train-mixed",
        stages=stages,
        questions={"system_prompt": SYSTEM},
        trainer={"learning_rate": 2e-4, "max_steps": 7, "batch_size": 8, "micro_batch_size": 2},
    )


@pytest.fixture(scope="module")
def registry() -> Registry:
    return PluginHost.load([], lambda _: None).registry


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def trained(run: Run, stage: str) -> pl.DataFrame:
    """TRAIN rows that the run's own training wrote."""
    return run.frame("train", f"train-{stage}").collect()


def texts(run: Run, stage: str) -> list[str]:
    """Responses in the order in which the run trains them."""
    samples = run.frame("samples").select("sample_id", "text").unique("sample_id").collect()
    return trained(run, stage).join(samples, on="sample_id", maintain_order="left")["text"].to_list()


# -- which rows -----------------------------------------------------------------------------------------


def test_the_run_has_what_these_tests_are_about(run: Run) -> None:
    assert run.summary("train-mixed")["mixed_rows"]
    assert min(trained(run, stage).height for stage in ("low", "high", "mixed")) > 3


@pytest.mark.parametrize("files", ["jsonl", "parquet"])
def test_rows_are_those_that_the_run_trains_in_their_order(
    tmp_path: Path, run: Run, registry: Registry, files: Any
) -> None:
    place, manifest = export_run(run, "trl", tmp_path / "out", files=files, registry=registry)
    assert [stage.name for stage in manifest.stages] == ["low", "high", "mixed"]
    for stage in manifest.stages:
        path = place / f"{stage.name}.{files}"
        rows = lines(path) if files == "jsonl" else pl.read_parquet(path).to_dicts()
        assert [row["completion"] for row in rows] == [
            [{"role": "assistant", "content": text}] for text in texts(run, stage.name)
        ]
        assert len(rows) == stage.rows
        assert all(row["prompt"][0] == {"role": "system", "content": SYSTEM} for row in rows)
        assert all([turn["role"] for turn in row["prompt"]] == ["system", "user"] for row in rows)
        assert all("<think>" in row["completion"][0]["content"] for row in rows)


def test_tokens_are_those_that_the_run_trains(tmp_path: Path, run: Run, registry: Registry) -> None:
    place, manifest = export_run(run, "trl", tmp_path / "out", options={"form": "tokens"}, registry=registry)
    for stage in ("low", "high", "mixed"):
        rows = pl.read_parquet(place / f"{stage}.parquet")
        wanted = trained(run, stage)
        assert rows["input_ids"].to_list() == wanted["token_ids"].to_list()
        for labels, tokens, mask in zip(
            rows["labels"].to_list(),
            wanted["token_ids"].to_list(),
            wanted["loss_mask"].to_list(),
            strict=True,
        ):
            runs = [[number % 2 == 1] * length for number, length in enumerate(mask)]
            on = [flag for part in runs for flag in part]
            assert labels == [token if flag else -100 for token, flag in zip(tokens, on, strict=True)]
            assert labels[-1] == tokens[-1]  # the end token is trained
    assert manifest.lost == ()  # neither prefix nor anything else


def test_a_masked_prefix_is_said_to_be_lost(tmp_path: Path, run: Run, registry: Registry) -> None:
    mixed = run.summary("train-mixed")["mixed_rows"]
    for to, said in {
        "trl": True,
        "llamafactory": True,
        "sharegpt": True,
        "text": True,
        "logprobs": False,
    }.items():
        console = ListConsole()
        _, manifest = export_run(run, to, tmp_path / to, registry=registry, console=console)
        told = [
            sentence for sentence in manifest.lost if sentence.startswith(f"{mixed} ") and "masks" in sentence
        ]
        assert bool(told) == said, to
        assert all(f"{to}: {sentence}" in console.warned for sentence in manifest.lost)


def test_one_training_alone(tmp_path: Path, run: Run, registry: Registry) -> None:
    place, manifest = export_run(run, "sharegpt", tmp_path / "out", stages=["high"], registry=registry)
    assert sorted(path.name for path in place.iterdir()) == [MANIFEST, "high.jsonl"]
    assert manifest.stages[0].number == 2
    with pytest.raises(InputError, match=r"there is no training 'hihg'; did you mean 'high'\?"):
        export_run(run, "sharegpt", tmp_path / "no", stages=["hihg"], registry=registry)
    assert not (tmp_path / "no").exists()


def test_a_training_that_is_not_ready_is_left_out_aloud(tmp_path: Path, registry: Registry) -> None:
    early = run_recipe(tmp_path / "run", until="select-high")
    console = ListConsole()
    _, manifest = export_run(early, "sharegpt", tmp_path / "out", registry=registry, console=console)
    assert [stage.name for stage in manifest.stages] == [
        "low",
        "high",
    ]  # selected, not trained: that is enough
    assert "mix-mixed is not done" in manifest.left_out[0]
    assert console.warned[0] == manifest.left_out[0]
    with pytest.raises(InputError, match="mix-mixed is not done"):
        export_run(early, "sharegpt", tmp_path / "no", stages=["mixed"], registry=registry)


def test_sampled_rows_are_all_of_them(tmp_path: Path, run: Run, registry: Registry) -> None:
    place, manifest = export_run(run, "text", tmp_path / "out", rows="sampled", registry=registry)
    samples = run.frame("samples", "sample-low").collect()
    rows = lines(place / "stage1-low.jsonl")
    assert [row["uuid"] for row in rows] == samples["sample_id"].to_list()
    assert [stage.name for stage in manifest.stages] == ["low", "high"]
    assert "mixed is left out" in manifest.left_out[0]


# -- forms ----------------------------------------------------------------------------------------------


def test_trl_configuration(tmp_path: Path, run: Run, registry: Registry) -> None:
    place, _ = export_run(run, "trl", tmp_path / "out", registry=registry)
    low, high = (yaml.safe_load((place / f"{name}.yaml").read_text()) for name in ("low", "high"))
    assert low["datasets"] == [{"path": "json", "data_files": "low.jsonl", "split": "train"}]
    wanted = {
        "packing": True,
        "packing_strategy": "bfd",
        "padding_free": True,
        "attn_implementation": "flash_attention_2",
        "completion_only_loss": True,
        "max_length": 512,
        "learning_rate": 2e-4,
        "lr_scheduler_kwargs": {"min_lr": 1e-5},
        "adam_beta2": 0.95,
        "max_steps": 7,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 4,
    }
    assert wanted.items() <= low.items()
    assert (low["output_dir"], high["model_name_or_path"]) == ("checkpoints/low", "checkpoints/low")


def test_llamafactory_configuration(tmp_path: Path, run: Run, registry: Registry) -> None:
    place, _ = export_run(
        run, "llamafactory", tmp_path / "out", options={"template": "qwen3_nothink"}, registry=registry
    )
    info = json.loads((place / "dataset_info.json").read_text())
    assert list(info) == ["scripted_low", "scripted_high", "scripted_mixed"]
    assert info["scripted_low"]["formatting"] == "sharegpt"
    low = yaml.safe_load((place / "low.yaml").read_text())
    wanted = {
        "neat_packing": True,
        "packing": True,
        "cutoff_len": 512,
        "default_system": SYSTEM,
        "template": "qwen3_nothink",
        "train_on_prompt": False,
        "mask_history": True,
        "enable_thinking": True,
        "dataset": "scripted_low",
    }
    assert wanted.items() <= low.items()
    rows = lines(place / "low.jsonl")
    assert [turn["role"] for turn in rows[0]["messages"]] == ["system", "user", "assistant"]


def test_sharegpt_rows(tmp_path: Path, run: Run, registry: Registry) -> None:
    place, _ = export_run(run, "sharegpt", tmp_path / "out", stages=["low"], registry=registry)
    row = lines(place / "low.jsonl")[0]
    assert [turn["from"] for turn in row["conversations"]] == ["system", "human", "gpt"]
    assert row["conversations"][2]["value"] == texts(run, "low")[0]
    assert row["id"] == trained(run, "low")["sample_id"][0]


def test_text_and_logprobs_belong_together(tmp_path: Path, run: Run, registry: Registry) -> None:
    text, _ = export_run(run, "text", tmp_path / "text", registry=registry)
    other, _ = export_run(run, "logprobs", tmp_path / "logprobs", registry=registry)
    rows = lines(text / "stage3-mixed.jsonl")
    assert list(rows[0]) == ["uuid", "input", "output", "domain", "meta"]
    logprobs = pl.read_parquet(other / "stage3-mixed.parquet")
    assert logprobs.columns == ["sample_uuid", "token_ids", "logprobs"]
    assert logprobs["sample_uuid"].to_list() == [row["uuid"] for row in rows]
    assert json.loads(rows[0]["meta"])["policy"] == "mixed-policy"
    assert not any(SYSTEM in row["input"] for row in rows)
    head = yaml.safe_load((text / "README.md").read_text().split("---")[1])
    assert [config["config_name"] for config in head["configs"]] == ["stage1", "stage2", "stage3"]


def test_responses_without_logprobs_are_counted(tmp_path: Path, registry: Registry) -> None:
    bare = run_recipe(
        tmp_path / "run",
        until="select-low",
        select={"selector": "longest"},
        teacher={"options": {"mode": "none"}},
    )
    _, manifest = export_run(bare, "logprobs", tmp_path / "out", stages=["low"], registry=registry)
    count = trained_count(bare)
    assert f"{count} responses have no log-probabilities and are left out" in manifest.lost


def trained_count(run: Run) -> int:
    return int(run.frame("verdicts", "select-low").select(pl.col("kept").sum()).collect().item())


# -- whole or not at all ---------------------------------------------------------------------------------


@pytest.mark.parametrize("to", FORMATS)
def test_the_same_run_gives_the_same_bytes_over_an_earlier_export(
    tmp_path: Path, run: Run, registry: Registry, to: str
) -> None:
    def content() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    export_run(run, to, tmp_path / "out", registry=registry)
    before = content()
    _, manifest = export_run(run, to, tmp_path / "out", registry=registry)
    assert content() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert ExportManifest.model_validate_json(before[MANIFEST]) == manifest
    assert {file.path for file in manifest.files} == before.keys() - {MANIFEST}


def test_what_is_no_export_is_not_touched(tmp_path: Path, run: Run, registry: Registry) -> None:
    place = tmp_path / "out"
    place.mkdir()
    export_run(run, "sharegpt", place, registry=registry)  # an empty directory is fine
    (place / "mine.txt").write_text("kept")
    with pytest.raises(InputError, match="1 other files, e.g. mine.txt"):
        export_run(run, "sharegpt", place, registry=registry)
    (place / MANIFEST).unlink()
    with pytest.raises(InputError, match="no export of dasd"):
        export_run(run, "sharegpt", place, registry=registry)
    assert (place / "mine.txt").read_text() == "kept"


class _Exporter:
    """Fails as ``how`` says."""

    def __init__(self, how: str) -> None:
        self._how = how

    def export(self, run: ExportRun, directory: Path) -> Any:
        with RowsFile(directory / "rows", "jsonl") as file:
            for frame in self._frames(run):
                file.write(frame)
        if self._how == "no result":
            return None
        name = "another.jsonl" if self._how == "no file" else file.path.name
        return Exported((ExportedFile(name, "xyz" if self._how == "no stage" else "low", file.rows),))

    def _frames(self, run: ExportRun) -> Iterator[pl.DataFrame]:
        for frame in run.stages[0].frames():
            yield frame
            if self._how == "interrupted":
                raise KeyboardInterrupt
            if self._how == "full":
                raise pl.exceptions.ComputeError("No space left on device (os error 28)")


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ("no result", SchemaError, "returned a NoneType; wanted an Exported"),
        ("no file", SchemaError, "'another.jsonl' that it hasn't written"),
        ("no stage", SchemaError, "training 'xyz'"),
        ("interrupted", KeyboardInterrupt, "^$"),
        ("full", DiskFullError, "the disk is full"),
    ],
)
def test_a_plugins_exporter_that_fails_leaves_nothing(
    tmp_path: Path, run: Run, how: str, error: type[BaseException], words: str
) -> None:
    mine = Registry()
    mine.exporter("mine", lambda _: _Exporter(how))
    with pytest.raises(error, match=words):
        export_run(run, "mine", tmp_path / "out", registry=mine)
    assert list(tmp_path.iterdir()) == []


def test_unknown_formats_and_options_are_refused(tmp_path: Path, run: Run, registry: Registry) -> None:
    with pytest.raises(PluginError, match="did you mean 'sharegpt'"):
        export_run(run, "sharegtp", tmp_path / "out", registry=registry)
    with pytest.raises(RecipeError, match="form"):
        export_run(run, "trl", tmp_path / "out", options={"form": "words"}, registry=registry)
    with pytest.raises(RecipeError, match="options"):
        export_run(run, "sharegpt", tmp_path / "out", options={"form": "tokens"}, registry=registry)
