"""Trainers that each break one promise, around the real trainer ``torch``; run by test_suites_catch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest
from tests.plugins.broken import Broken

from dasd.api import Checkpoint, TrainerSettings, TrainingError, TrainProgress, TrainSpec
from dasd.models.files import resolve_model
from dasd.testing import TrainerSuite
from dasd.training.torch.trainer import TorchTrainer

FIRST = "test_the_first_loss_is_that_of_the_trained_tokens"
LOADS = "test_it_leaves_a_model_that_loads"
TOLD = "test_every_step_is_told_once_and_in_order"
RESUMES = "test_an_interrupted_training_goes_on_as_if_nothing_had_been"


class Altered(TorchTrainer):
    """The real trainer on altered rows or with an altered spec."""

    def rows(self, rows: pl.DataFrame, spec: TrainSpec) -> pl.DataFrame:
        return rows

    def spec(self, spec: TrainSpec) -> TrainSpec:
        return spec

    def after(self, checkpoint: Checkpoint, spec: TrainSpec) -> Checkpoint:
        return checkpoint

    def train(self, shards: Sequence[Path], spec: TrainSpec, resume: bool) -> Checkpoint:
        altered = []
        for shard in shards:
            altered.append(shard.with_suffix(".altered.parquet"))
            self.rows(pl.read_parquet(shard), spec).write_parquet(altered[-1])
        return self.after(super().train(altered, self.spec(spec), resume), spec)


@pytest.fixture(scope="module")
def shallow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature student without its layers but the first: a check trains a third as long."""
    from safetensors.torch import load_file, save_file

    place = tmp_path_factory.mktemp("shallow") / "student"
    shutil.copytree(resolve_model("dasd:mini-student"), place)
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 1}))
    weights = load_file(place / "model.safetensors")
    kept = {n: w for n, w in weights.items() if ".layers." not in n or ".layers.0." in n}
    save_file(kept, place / "model.safetensors", {"format": "pt"})
    return place


@pytest.fixture(scope="class", autouse=True)
def trains_the_shallow(request: pytest.FixtureRequest, shallow: Path) -> None:
    request.cls.model = str(shallow)


class Suite(Broken, TrainerSuite):
    Mine: ClassVar[type[Altered]]

    @classmethod
    def make(cls, settings: TrainerSettings) -> Altered:
        return cls.Mine(settings)


def telling(spec: TrainSpec, tell: Callable[[TrainProgress], TrainProgress]) -> TrainSpec:
    return replace(spec, on_step=lambda progress: spec.on_step(tell(progress)))


class TestTrainsThePrompt(Suite):
    caught = (FIRST, "Are masks and weights used")

    class Mine(Altered):
        def rows(self, rows: pl.DataFrame, spec: TrainSpec) -> pl.DataFrame:
            masks = [[1, len(ids) - 1] for ids in rows["token_ids"]]
            return rows.with_columns(loss_mask=pl.Series(masks, dtype=pl.List(pl.UInt32)))


class TestIgnoresLaterRuns(Suite):
    """Masks the prompt and nothing else: what the student wrote of a mixed response is trained after all."""

    caught = (FIRST, "Are masks and weights used")

    class Mine(Altered):
        def rows(self, rows: pl.DataFrame, spec: TrainSpec) -> pl.DataFrame:
            masks = [[ids.to_list().index(364) + 1, len(ids)] for ids in rows["token_ids"]]
            masks = [[prompt, length - prompt] for prompt, length in masks]
            return rows.with_columns(loss_mask=pl.Series(masks, dtype=pl.List(pl.UInt32)))


class TestIgnoresWeights(Suite):
    caught = (FIRST, "Are masks and weights used")

    class Mine(Altered):
        def rows(self, rows: pl.DataFrame, spec: TrainSpec) -> pl.DataFrame:
            return rows.with_columns(weight=pl.lit(1.0, pl.Float32))


class TestPacksLeak(Suite):
    caught = ("test_packed_rows_do_not_see_each_other", "rows packed")

    class Mine(Altered):
        def rows(self, rows: pl.DataFrame, spec: TrainSpec) -> pl.DataFrame:
            if not spec.settings.packing:
                return rows
            merged = [
                (ids[0], [*chain(*tokens)], [*chain(*masks)], weight, "suite")
                for weight, ids, tokens, masks in rows.group_by("weight", maintain_order=True)
                .agg("sample_id", "token_ids", "loss_mask")
                .iter_rows()
            ]
            return pl.DataFrame(merged, schema=rows.schema, orient="row")

        def spec(self, spec: TrainSpec) -> TrainSpec:
            return replace(spec, settings=spec.settings.model_copy(update={"max_length": 1024}))


class TestTellsStepsTwice(Suite):
    caught = (TOLD, "counted from 1")

    class Mine(Altered):
        def spec(self, spec: TrainSpec) -> TrainSpec:
            def twice(progress: TrainProgress) -> None:
                spec.on_step(progress)
                spec.on_step(progress)

            return replace(spec, on_step=twice)


class TestCountsFromZero(Suite):
    caught = (TOLD, "counted from 1")

    class Mine(Altered):
        def spec(self, spec: TrainSpec) -> TrainSpec:
            return telling(spec, lambda progress: replace(progress, step=progress.step - 1))


class TestTellsTokensOfAStep(Suite):
    caught = (TOLD, "count from the start")

    class Mine(Altered):
        def spec(self, spec: TrainSpec) -> TrainSpec:
            return telling(spec, lambda progress: replace(progress, tokens=300))


class TestLeavesNoTokenizer(Suite):
    caught = (LOADS, "has no tokenizer")

    class Mine(Altered):
        def after(self, checkpoint: Checkpoint, spec: TrainSpec) -> Checkpoint:
            (checkpoint.path / "tokenizer.json").unlink()
            return checkpoint


class TestLosesTheChatTemplate(Suite):
    caught = (LOADS, "chat template")

    class Mine(Altered):
        def after(self, checkpoint: Checkpoint, spec: TrainSpec) -> Checkpoint:
            (checkpoint.path / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
            return checkpoint


class TestLeavesTheStart(Suite):
    caught = (LOADS, "the weights are those of the start model")

    class Mine(Altered):
        def after(self, checkpoint: Checkpoint, spec: TrainSpec) -> Checkpoint:
            shutil.copy(spec.model / "model.safetensors", checkpoint.path)
            return checkpoint


class TestLeavesNoModel(Suite):
    caught = (LOADS, "left no model (config.json)")

    class Mine(Altered):
        def after(self, checkpoint: Checkpoint, spec: TrainSpec) -> Checkpoint:
            shutil.rmtree(checkpoint.path)
            return checkpoint


class TestDoesNotLearn(Suite):
    caught = ("test_the_loss_falls", "losses: ")

    class Mine(Altered):
        def spec(self, spec: TrainSpec) -> TrainSpec:
            still = {"learning_rate": 1e-9, "min_learning_rate": 0.0}
            first: list[float] = []
            altered = replace(spec, settings=spec.settings.model_copy(update=still))
            return telling(altered, lambda p: first.append(p.loss) or replace(p, loss=max(first)))


class TestIgnoresMaxSteps(Suite):
    caught = ("test_max_steps_is_kept", "16 steps; wanted max_steps = 8")

    class Mine(Altered):
        def spec(self, spec: TrainSpec) -> TrainSpec:
            return replace(spec, settings=spec.settings.model_copy(update={"max_steps": None}))


class TestSaysTheFirstLossTwice(Suite):
    caught = ("test_the_checkpoint_says_what_was_done", "last_loss=")

    class Mine(Altered):
        def after(self, checkpoint: Checkpoint, spec: TrainSpec) -> Checkpoint:
            return replace(checkpoint, last_loss=checkpoint.first_loss)


class TestPrintsItsLoss(Suite):
    caught = ("test_nothing_is_written_on_stdout", "loss")

    class Mine(Altered):
        def after(self, checkpoint: Checkpoint, spec: TrainSpec) -> Checkpoint:
            print("loss", checkpoint.last_loss)
            return checkpoint


class TestShufflesByTheClock(Suite):
    caught = ("test_the_same_seed_gives_the_same_losses", "a second training: step 1")

    class Mine(Altered):
        seeds = count(1)

        def spec(self, spec: TrainSpec) -> TrainSpec:
            return replace(spec, seed=next(self.seeds))


class TestBeginsAgain(Suite):
    caught = (RESUMES, "it began anew")

    class Mine(Altered):
        def train(self, shards: Sequence[Path], spec: TrainSpec, resume: bool) -> Checkpoint:
            return super().train(shards, spec, resume=False)


class TestLeavesAModelWhenInterrupted(Suite):
    caught = (RESUMES, "left a model in its output")

    class Mine(Altered):
        def train(self, shards: Sequence[Path], spec: TrainSpec, resume: bool) -> Checkpoint:
            try:
                return super().train(shards, spec, resume)
            except KeyboardInterrupt:
                shutil.copytree(spec.model, spec.output)
                raise


class TestSwallowsTheInterrupt(Suite):
    caught = (RESUMES, "left no model")

    class Mine(Altered):
        def train(self, shards: Sequence[Path], spec: TrainSpec, resume: bool) -> Checkpoint:
            try:
                return super().train(shards, spec, resume)
            except KeyboardInterrupt:
                return Checkpoint(spec.output, 5, 1, 1.0, 1.0, 1.0)


class TestResumesWithoutItsOptimizer(Suite):
    """Goes on from the saved weights with fresh moments, as if they were a start model."""

    caught = (RESUMES, "after the interruption: step")

    class Mine(Altered):
        def train(self, shards: Sequence[Path], spec: TrainSpec, resume: bool) -> Checkpoint:
            if resume:
                from safetensors.torch import load_file, save_file

                file = spec.state / "state.safetensors"
                state: dict[str, Any] = load_file(file)
                from safetensors import safe_open

                with safe_open(file, "pt") as opened:
                    header = json.loads(opened.metadata()["dasd"])
                header.pop("sum")  # or the altered state is refused
                emptied = {k: v if k.startswith("model/") or "step" in k else v * 0 for k, v in state.items()}
                save_file(emptied, file, {"dasd": json.dumps(header)})
            return super().train(shards, spec, resume)


class TestSwallowsNaN(Suite):
    caught = ("test_a_loss_that_is_not_finite_is_refused", "DID NOT RAISE")

    class Mine(Altered):
        def train(self, shards: Sequence[Path], spec: TrainSpec, resume: bool) -> Checkpoint:
            try:
                return super().train(shards, spec, resume)
            except TrainingError:
                shutil.copytree(spec.model, spec.output)
                return Checkpoint(spec.output, 1, 1, float("nan"), float("nan"), 1.0)
