"""The trainer: from shards and a start model to a model directory, over any number of kills."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from dasd.base.files import watch_disk
from dasd.models.devices import pick_device
from dasd.plugins.roles import Checkpoint, TrainSpec
from dasd.recipe.training_settings import TrainerSettings
from dasd.training.attention import order_restored
from dasd.training.checks import try_model
from dasd.training.curve import Curve
from dasd.training.export import export_model
from dasd.training.guard import Guard
from dasd.training.loaded_rows import load_rows
from dasd.training.loss import usual_loss_logits
from dasd.training.merge import export_adapted
from dasd.training.model import attention_of, load_model, trained_parameters, weights_fingerprint
from dasd.training.optimizer import make_optimizers
from dasd.training.plan import plan_training
from dasd.training.position import Position, training_key
from dasd.training.torch.builtin import TorchOptions
from dasd.training.torch.loop import Loop
from dasd.training.torch.state import load_state, save_state


class TorchTrainer:
    """Fine-tuning in plain torch on one device (``api.Trainer``): all weights, or an adapter.

    Master weights are float32; with ``precision: bf16`` the forward and backward pass run under autocast.
    The same rows, settings, seed, machine and number of threads give the same weights bit for bit, killed and
    resumed or not; on a GPU with attention ``segments``, whose way back adds up in a fixed order.
    """

    def __init__(self, settings: TrainerSettings) -> None:
        """``settings``: of these the options count; all else is as each training has it (``TrainSpec``)."""
        self._options = TorchOptions.model_validate(settings.options)

    def train(self, shards: Sequence[Path], spec: TrainSpec, resume: bool) -> Checkpoint:
        """Train and leave the model in ``spec.output``, with every step's loss in ``losses.parquet`` there.

        A state is saved to ``spec.state`` every ``save_every`` steps, after the last, and on Ctrl-C. With
        ``resume`` it is gone on from, if it belongs to this very training. Raises TrainingError for a loss
        or gradient that isn't finite, InputError for a start model that can't be trained, DiskFullError.
        """
        device = pick_device(spec.settings.device, "trainer.device")
        spec.state.mkdir(parents=True, exist_ok=True)
        with watch_disk(spec.state):
            rows = load_rows(shards, spec.state)
        key = training_key(spec, rows.fingerprint, weights_fingerprint(spec.model))
        attention = attention_of(self._options.attention, spec.settings.precision, device)
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices), order_restored():
            model, dtype = load_model(spec, attention, device)
            plain_head = try_model(model, rows, attention, spec.settings.precision)
            optimizers = make_optimizers(model, spec.settings)
            found = load_state(spec.state, key, model, optimizers) if resume else None
            loop = Loop(
                model=model,
                optimizers=optimizers,
                rows=rows,
                plan=plan_training(rows.lengths, spec.settings, spec.seed),
                settings=spec.settings,
                seed=spec.seed,
                attention=attention,
                plain_head=plain_head,
                loss_logits=self._options.loss_logits or usual_loss_logits(device),
                position=found or Position(step=0, tokens=0, seconds=0.0),
                on_policy=spec.on_policy,
                part=spec.part,
                parts=spec.parts,
            )
            curve = Curve(spec.state, spec.stage, loop.position.step, on_policy=spec.on_policy is not None)
            if spec.on_policy is not None:
                loop.guard = Guard(spec.on_policy, spec.stage, curve.first_own)
            self._run(loop, curve, key, spec)
        losses = curve.frame()
        if spec.settings.adapter is None:
            export_model(model, dtype, spec.model, spec.output, losses)
        else:
            export_adapted(spec, trained_parameters(model), dtype, losses)
        return Checkpoint(
            path=spec.output,
            steps=loop.position.step,
            tokens=loop.position.tokens,
            first_loss=losses.get_column("loss")[0],
            last_loss=losses.get_column("loss")[-1],
            seconds=loop.position.seconds,
        )

    def _run(self, loop: Loop, curve: Curve, key: str, spec: TrainSpec) -> None:
        saved = loop.position.step
        try:
            for progress in loop.steps():
                due = progress.step % spec.settings.save_every == 0 or progress.step == progress.steps
                curve.append(progress, durable=due)
                if due:
                    save_state(spec.state, key, loop.position, loop.model, loop.optimizers)
                    saved = progress.step
                spec.on_step(progress)
        except KeyboardInterrupt:
            # Between two steps, or in a backward pass: the weights are those of loop.position. If the signal
            # came before that step's line of the curve was written, the older state stays.
            if not loop.updating and curve.last_step == loop.position.step > saved:
                save_state(spec.state, key, loop.position, loop.model, loop.optimizers)
            raise
