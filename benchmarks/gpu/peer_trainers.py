"""The peers of the trainer ``torch``: transformers' Trainer twice, and TRL's SFTTrainer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorWithFlattening,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from benchmarks.gpu.clock import now
from benchmarks.gpu.sizes import TrainWork

if TYPE_CHECKING:
    from benchmarks.gpu.training import Timed

Packs = Sequence[npt.NDArray[np.uint32]]


class _Marks(TrainerCallback):
    """Reads the clock after the warm-up and after the last step, and keeps the first step's loss."""

    def __init__(self, work: TrainWork, device: torch.device) -> None:
        self._steps = (work.warmup, work.warmup + work.steps)
        self._device = device
        self.times: list[float] = []
        self.losses: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """The trainer's hook."""
        if state.global_step in self._steps:
            self.times.append(now(self._device))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002
        """The trainer's hook."""
        if logs and "loss" in logs:
            self.losses.append(float(logs["loss"]))


def arguments(work: TrainWork, root: Path, device: torch.device) -> dict[str, Any]:
    """What all peers are given: as ``training.settings``, the rows in their order."""
    return {
        "output_dir": str(root / "peer"),
        "max_steps": work.warmup + work.steps,
        "learning_rate": 5e-5,
        "lr_scheduler_type": "cosine",
        "adam_beta1": 0.9,
        "adam_beta2": 0.95,
        "weight_decay": 0.1,
        "max_grad_norm": 1.0,
        "optim": "adamw_torch_fused",
        "bf16": True,
        "gradient_checkpointing": False,
        "train_sampling_strategy": "sequential",
        "remove_unused_columns": False,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": device.type == "cpu",
    }


def load(model: Path) -> Any:
    """Float32 master weights and torch's own attention, as transformers chooses by itself."""
    return AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, attn_implementation="sdpa")


def labelled(work: TrainWork, row: list[int]) -> dict[str, list[int]]:
    """A row with its prompt left out of the loss."""
    return {"input_ids": row, "labels": [-100] * work.prompt + row[work.prompt :]}


def flattened(
    work: TrainWork, rows: list[list[int]], packs: Packs, model: Path, root: Path, device: torch.device
) -> Timed:
    """transformers' Trainer over our packs with its collator without padding."""
    flatten: Any = DataCollatorWithFlattening()  # type: ignore[no-untyped-call]

    def collate(items: list[list[dict[str, list[int]]]]) -> Any:
        return flatten([row for pack in items for row in pack])

    items = [[labelled(work, rows[number]) for number in pack] for pack in packs]
    tokens = [sum(len(rows[number]) for number in pack) for pack in packs]
    return _train(work, items, collate, tokens, 1, work.packs, model, root, device)


def padded(
    work: TrainWork, rows: list[list[int]], packs: Packs, model: Path, root: Path, device: torch.device
) -> Timed:
    """transformers' Trainer over the same rows in the same order, two in a forward pass, padded to the longer."""

    def collate(items: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        longest = max(len(item["input_ids"]) for item in items)

        def stacked(key: str, filler: int) -> torch.Tensor:
            return torch.tensor([item[key] + [filler] * (longest - len(item[key])) for item in items])

        lengths = torch.tensor([[len(item["input_ids"])] for item in items])
        return {
            "input_ids": stacked("input_ids", 0),
            "labels": stacked("labels", -100),
            "attention_mask": (torch.arange(longest)[None] < lengths).long(),
        }

    order = np.concatenate(packs)
    items = [labelled(work, rows[number]) for number in order]
    pairs = [len(rows[a]) + len(rows[b]) for a, b in zip(order[::2], order[1::2], strict=False)]
    # As many tokens a step as the packs hold.
    accumulated = max(1, round(len(order) / len(packs) * work.packs / 2))
    return _train(work, items, collate, pairs, 2, accumulated, model, root, device)


def _train(
    work: TrainWork,
    items: list[Any],
    collate: Any,
    tokens: list[int],
    batch: int,
    accumulated: int,
    model: Path,
    root: Path,
    device: torch.device,
) -> Timed:
    """``tokens``: of each forward pass."""
    marks = _Marks(work, device)
    trainer = Trainer(
        model=load(model),
        args=TrainingArguments(
            **arguments(work, root, device),
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulated,
        ),
        train_dataset=items,
        data_collator=collate,
        callbacks=[marks],
    )
    return _run(trainer, marks, work, tokens, accumulated)


def packed_by_trl(
    work: TrainWork, rows: list[list[int]], model: Path, root: Path, device: torch.device
) -> Timed:
    """TRL's SFTTrainer over the same rows, which it packs itself."""
    from datasets import Dataset, disable_progress_bars
    from trl import SFTConfig, SFTTrainer  # type: ignore[attr-defined]

    disable_progress_bars()
    given = arguments(work, root, device)
    del given["remove_unused_columns"]
    marks = _Marks(work, device)
    trainer: Any = SFTTrainer(
        model=load(model),
        args=SFTConfig(
            **given,
            per_device_train_batch_size=1,
            gradient_accumulation_steps=work.packs,
            packing=True,
            max_length=work.max_length,
        ),
        train_dataset=Dataset.from_list([labelled(work, row) for row in rows]),
        processing_class=AutoTokenizer.from_pretrained(model),
        callbacks=[marks],
    )
    tokens = [len(ids) for ids in trainer.train_dataset["input_ids"]]
    return _run(trainer, marks, work, tokens, work.packs)


def _run(trainer: Any, marks: _Marks, work: TrainWork, tokens: list[int], accumulated: int) -> Timed:
    from benchmarks.gpu.training import Timed

    trainer.remove_callback(PrinterCallback)
    trainer.train()
    start, end = marks.times
    first, last = work.warmup * accumulated, (work.warmup + work.steps) * accumulated
    return Timed(end - start, sum(tokens[first:last]), marks.losses[0])
