"""Cards of what a run made, and sending it to a hub.

``model_card(run)`` and ``dataset_card(run, directory)`` are the texts; ``model_push`` and ``dataset_push``
say what would be sent, ``send`` sends it.
"""

from __future__ import annotations

from dasd.results.cards.of_dataset import dataset_card
from dasd.results.cards.of_model import ModelCardText, model_card
from dasd.results.cards.options import CardOptions, HubBenchmark
from dasd.results.cards.push import Push, Target, dataset_push, model_push
from dasd.results.cards.upload import Pushed, send

__all__ = [
    "CardOptions",
    "HubBenchmark",
    "ModelCardText",
    "Push",
    "Pushed",
    "Target",
    "dataset_card",
    "dataset_push",
    "model_card",
    "model_push",
    "send",
]
