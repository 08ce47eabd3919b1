"""The suite of a trainer: real trainings of the miniature student, a few steps each."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal

import polars as pl
import pytest

from dasd.api import Checkpoint, Trainer, TrainerSettings, TrainingError, TrainProgress, TrainSpec
from dasd.base.progress import no_bars
from dasd.models.files import resolve_model
from dasd.models.tokens.chat import ChatTokenizer
from dasd.plugins.components import Role
from dasd.recipe.model_settings import ModelSettings
from dasd.testing.reference import mean_loss
from dasd.testing.rows import train_rows, write_shards
from dasd.testing.suite import ComponentSuite, caught_stdout

__all__ = ["TrainerSuite"]

ROWS = 16
STEPS = 8
CUT = 5
"""Step after which a training is interrupted; states are saved every other step."""


@dataclass(frozen=True)
class Training:
    """One training that has finished."""

    checkpoint: Checkpoint
    steps: tuple[TrainProgress, ...]
    stdout: str


class TrainerSuite(ComponentSuite):
    """Set ``name``; ``options`` or ``make_options`` where the trainer has some.

    The checks make seven short trainings; override ``make_settings`` for other settings of the recipe.
    """

    role: ClassVar[Role] = "trainer"
    model: ClassVar[str] = "dasd:mini-student"
    """A model directory to start from, in float32."""
    precision: ClassVar[Literal["fp32", "bf16"]] = "fp32"
    device: ClassVar[str] = "cpu"
    loss_tolerance: ClassVar[float] = 1e-3
    """Largest difference in nats between the first loss and transformers' own on the same rows."""
    repeat_tolerance: ClassVar[float] = 0.0
    """Largest difference between the losses of two trainings with the same seed."""
    resume_tolerance: ClassVar[float] = 0.0
    """Largest difference between the losses of an interrupted training and of one that wasn't."""
    learning_rate: ClassVar[float] = 3e-3

    @classmethod
    def make_settings(cls, **changes: Any) -> TrainerSettings:
        """The section ``trainer`` of a recipe; ``changes`` are a check's own."""
        plain: dict[str, Any] = {
            "trainer": cls.name,
            "epochs": 4,
            "max_steps": STEPS,
            "learning_rate": cls.learning_rate,
            "min_learning_rate": cls.learning_rate / 10,
            "batch_size": 4,
            "micro_batch_size": 2,
            "max_length": 256,
            "packing": False,
            "precision": cls.precision,
            "save_every": 2,
            "device": cls.device,
            "options": dict(cls.make_options(cls.directory())),
        }
        return TrainerSettings.model_validate(plain | changes)

    @classmethod
    def make_trainer(cls, settings: TrainerSettings) -> Trainer:
        """The trainer, through the registry."""
        return cls.registry().make_trainer(settings)

    @classmethod
    def rows(cls, weights: Sequence[float] = (1.0,)) -> pl.DataFrame:
        """TRAIN rows: prompts masked, in every third row half of the response too."""
        return train_rows(ChatTokenizer.load(ModelSettings(model=cls.model)), ROWS, weights=weights)

    @classmethod
    def make_spec(
        cls, name: str, settings: TrainerSettings, on_step: Callable[[TrainProgress], None]
    ) -> TrainSpec:
        """A training from ``model`` with its output and its state in the class's directory."""
        place = cls.directory() / name
        place.mkdir(exist_ok=True)
        return TrainSpec(
            stage="suite",
            model=Path(resolve_model(cls.model)),
            output=place / "out",
            state=place / "state",
            settings=settings,
            seed=7,
            trust_remote_code=False,
            on_step=on_step,
        )

    @classmethod
    def trained(cls, name: str, rows: pl.DataFrame, **changes: Any) -> Training:
        """Train on ``rows`` in a directory of this name."""
        steps: list[TrainProgress] = []
        spec = cls.make_spec(name, cls.make_settings(**changes), steps.append)
        shards = write_shards(cls.directory() / name / "rows", rows)
        with caught_stdout() as written:
            checkpoint = cls.make_trainer(spec.settings).train(shards, spec, resume=False)
        return Training(checkpoint, tuple(steps), written.text)

    @classmethod
    def whole(cls) -> Training:
        """The training that the others are held against, made once."""
        return cls._once("whole", lambda _: cls.trained("whole", cls.rows()))

    def test_it_leaves_a_model_that_loads(self) -> None:
        """A directory for from_pretrained: safetensors, the start's tokenizer, weights that have changed."""
        import torch
        from transformers import AutoModelForCausalLM

        path = self.whole().checkpoint.path
        with no_bars():
            model = AutoModelForCausalLM.from_pretrained(path)
            start = AutoModelForCausalLM.from_pretrained(resolve_model(self.model))
        assert not list(path.rglob("*.bin")) and not list(path.rglob("*.pt")), "weights are to be safetensors"
        hashes = [ChatTokenizer.load(ModelSettings(model=each)).hash for each in (str(path), self.model)]
        assert hashes[0] == hashes[1], "the tokenizer or its chat template isn't that of the start model"
        for key in ("vocab_size", "eos_token_id"):
            got, wanted = getattr(model.config, key), getattr(start.config, key)
            assert got == wanted, f"config.json has {key} {got}; wanted {wanted}, the start model's"
        trained, before = model.state_dict(), start.state_dict()
        assert trained.keys() == before.keys(), "the names of the weights aren't those of the start model"
        finite = all(bool(torch.isfinite(tensor).all()) for tensor in trained.values())
        assert finite, "weights that are not finite"
        moved = any(not torch.equal(tensor.float(), before[name].float()) for name, tensor in trained.items())
        assert moved, "the weights are those of the start model"

    def test_the_loss_falls(self) -> None:
        """Eight steps on sixteen rows: the last two losses are below the first two."""
        losses = [step.loss for step in self.whole().steps]
        assert sum(losses[-2:]) < sum(losses[:2]), f"losses: {losses}"

    def test_every_step_is_told_once_and_in_order(self) -> None:
        """on_step after each optimiser step, with finite figures, tokens and epochs that only grow."""
        steps = self.whole().steps
        assert [step.step for step in steps] == list(range(1, len(steps) + 1)), "steps are counted from 1"
        assert {step.steps for step in steps} == {len(steps)}, "`steps` is the number of steps in all"
        for step in steps:
            figures = (step.loss, step.learning_rate, step.grad_norm, step.epoch, step.seconds)
            assert all(map(math.isfinite, figures)), f"wanted finite figures, got {step}"
            assert step.learning_rate <= self.learning_rate * (1 + 1e-6), f"over the peak: {step}"
        for one, after in pairwise(steps):
            grows = after.tokens > one.tokens > 0 and after.epoch > one.epoch and after.seconds >= one.seconds
            assert grows, f"tokens, epoch and seconds count from the start: {one}, then {after}"

    def test_max_steps_is_kept(self) -> None:
        """Sixteen rows in batches of four, four epochs, but at most eight steps: two epochs."""
        steps = self.whole().steps
        assert len(steps) == STEPS, f"{len(steps)} steps; wanted max_steps = {STEPS}"
        lengths = int(self.rows()["token_ids"].list.len().sum())
        assert abs(steps[-1].epoch - 2.0) < 1e-3, f"{steps[-1].epoch} epochs; wanted 2"
        assert steps[-1].tokens == 2 * lengths, (
            f"{steps[-1].tokens} tokens; wanted {2 * lengths}, without padding"
        )

    def test_the_checkpoint_says_what_was_done(self) -> None:
        """Path, steps, tokens and the first and last loss are those of the training."""
        whole = self.whole()
        done, steps = whole.checkpoint, whole.steps
        wanted = replace(
            done,
            path=self.directory() / "whole" / "out",
            steps=len(steps),
            tokens=steps[-1].tokens,
            first_loss=steps[0].loss,
            last_loss=steps[-1].loss,
        )
        assert done == wanted, f"{done}; wanted {wanted}"
        assert done.seconds > 0, f"{done.seconds} seconds"

    def test_nothing_is_written_on_stdout(self) -> None:
        """Stdout belongs to the command's results; progress goes through on_step."""
        assert self.whole().stdout == "", f"written on stdout: {self.whole().stdout[:400]!r}"

    def test_the_first_loss_is_that_of_the_trained_tokens(self) -> None:
        """One step over all rows: the mean over the trained tokens alone, by the weights of their rows."""
        rows = self.rows(weights=(3.0, 1.0, 0.5))
        done = self.trained("masked", rows, batch_size=ROWS, epochs=1)
        self._held(done.checkpoint.first_loss, rows, "rows apart")

    def test_packed_rows_do_not_see_each_other(self) -> None:
        """With packing the first loss is the same: each row in a pack is trained as if it were alone."""
        rows = self.rows(weights=(3.0, 1.0, 0.5))
        done = self.trained("packed", rows, batch_size=ROWS, epochs=1, packing=True)
        self._held(done.checkpoint.first_loss, rows, "rows packed")

    def test_the_same_seed_gives_the_same_losses(self) -> None:
        """Two trainings with the same rows, settings and seed."""
        again = self.trained("again", self.rows())
        self._same(again.steps, self.whole().steps, self.repeat_tolerance, "a second training")

    def test_an_interrupted_training_goes_on_as_if_nothing_had_been(self) -> None:
        """Ctrl-C in on_step leaves no output; the next start goes on from a saved state with the same losses."""
        whole, rows = self.whole(), self.rows()

        def stop(progress: TrainProgress) -> None:
            if progress.step == CUT:
                raise KeyboardInterrupt

        spec = self.make_spec("cut", self.make_settings(), stop)
        shards = write_shards(self.directory() / "cut" / "rows", rows)
        with pytest.raises(KeyboardInterrupt):
            self.make_trainer(spec.settings).train(shards, spec, resume=False)
        assert not (spec.output / "config.json").exists(), (
            "an interrupted training left a model in its output"
        )
        steps: list[TrainProgress] = []
        spec = replace(spec, on_step=steps.append)
        done = self.make_trainer(spec.settings).train(shards, spec, resume=True)
        assert steps and steps[0].step > 1, "it began anew; wanted to go on from the state in spec.state"
        told = [step.step for step in steps]
        assert told == list(range(told[0], STEPS + 1)), f"steps {told} after the interruption"
        self._same(steps, whole.steps[steps[0].step - 1 :], self.resume_tolerance, "after the interruption")
        for key in ("steps", "tokens", "first_loss"):
            got, wanted = getattr(done, key), getattr(whole.checkpoint, key)
            assert abs(got - wanted) <= self.resume_tolerance, (
                f"the checkpoint has {key} {got}; wanted {wanted}"
            )

    def test_a_loss_that_is_not_finite_is_refused(self) -> None:
        """A weight that is NaN: TrainingError, and no output."""
        from safetensors.torch import load_file, save_file

        broken = self.directory() / "broken"
        shutil.copytree(resolve_model(self.model), broken / "model", dirs_exist_ok=True)
        file = broken / "model" / "model.safetensors"
        weights = load_file(file)
        weights["model.norm.weight"][0] = float("nan")
        save_file(weights, file, {"format": "pt"})
        spec = self.make_spec("broken", self.make_settings(max_steps=1), lambda _: None)
        spec = replace(spec, model=broken / "model")
        shards = write_shards(broken / "rows", self.rows())
        with pytest.raises(TrainingError):
            self.make_trainer(spec.settings).train(shards, spec, resume=False)
        assert not (spec.output / "config.json").exists(), "a refused training left a model in its output"

    def _held(self, loss: float, rows: pl.DataFrame, how: str) -> None:
        wanted = mean_loss(self.model, rows)
        assert abs(loss - wanted) <= self.loss_tolerance, (
            f"{how}: the first loss is {loss:.6f} nats; transformers' own over the trained tokens is "
            f"{wanted:.6f}, tolerated is a difference of {self.loss_tolerance:g}. Are masks and weights used, "
            "and do rows stay apart?"
        )

    def _same(
        self, got: Sequence[TrainProgress], wanted: Sequence[TrainProgress], tolerance: float, how: str
    ) -> None:
        assert len(got) == len(wanted), f"{how}: {len(got)} steps; wanted {len(wanted)}"
        for one, other in zip(got, wanted, strict=True):
            assert abs(one.loss - other.loss) <= tolerance, (
                f"{how}: step {one.step} has loss {one.loss!r}; wanted {other.loss!r} within {tolerance:g}"
            )
