"""What a trainer that is a plugin builds on. Stable like ``dasd.api``; unlike it, this module imports torch.

The order of a training: ``load_rows`` and ``plan_training`` say which rows fill which pack of which step,
``collate`` lays a micro-batch out, ``load_model`` and ``weighted_nll`` give the loss, ``learning_rate`` the rate,
``Curve`` keeps what every step said, ``export_model`` leaves a directory that ``from_pretrained`` loads. With
``trainer.adapter`` the parameters of ``load_model`` that want gradients are the adapter's, and ``export_adapted``
leaves them and the checkpoint that they are merged into. The host has checked the labels before it calls the trainer.
"""

from __future__ import annotations

from dasd.base.checksums import file_checksum
from dasd.base.files import disk_full, means_full, sync, watch_disk, write_whole
from dasd.base.seeds import digest, seed_of
from dasd.models.devices import pick_device
from dasd.training.attention import Segments
from dasd.training.batches import Batch, collate, model_arguments
from dasd.training.checks import try_model
from dasd.training.curve import Curve
from dasd.training.export import export_model
from dasd.training.guard import Guard, own_figures
from dasd.training.loaded_rows import TrainRows, expand_runs, load_rows
from dasd.training.loss import on_policy_loss, weighted_nll
from dasd.training.merge import export_adapted
from dasd.training.model import attention_of, load_model, weights_fingerprint
from dasd.training.on_policy_loss import FIGURES
from dasd.training.optimizer import make_optimizers, set_learning_rate
from dasd.training.plan import TrainPlan, plan_training
from dasd.training.position import Position, training_key
from dasd.training.step import learning_rate, not_finite, step_weight

__all__ = [
    "FIGURES",
    "Batch",
    "Curve",
    "Guard",
    "Position",
    "Segments",
    "TrainPlan",
    "TrainRows",
    "attention_of",
    "collate",
    "digest",
    "disk_full",
    "expand_runs",
    "export_adapted",
    "export_model",
    "file_checksum",
    "learning_rate",
    "load_model",
    "load_rows",
    "make_optimizers",
    "means_full",
    "model_arguments",
    "not_finite",
    "on_policy_loss",
    "own_figures",
    "pick_device",
    "plan_training",
    "seed_of",
    "set_learning_rate",
    "step_weight",
    "sync",
    "training_key",
    "try_model",
    "watch_disk",
    "weighted_nll",
    "weights_fingerprint",
    "write_whole",
]
