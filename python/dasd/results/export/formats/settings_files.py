"""Hyper-parameters of a training as arguments of Hugging Face's Trainer, and YAML files with a heading."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from pydantic import JsonValue

from dasd.models.files import resolve_model
from dasd.plugins.exports import ExportRun, ExportStage

__all__ = ["commands", "hyper_parameters", "not_carried", "run_settings", "start_settings", "write_yaml"]

_MERGED = "-merged"
_MERGE = (
    'python -c "from peft import AutoPeftModelForCausalLM as Model; from transformers import AutoTokenizer; '
    "place = '{place}'; Model.from_pretrained(place).merge_and_unload().save_pretrained(place + '{merged}'); "
    "AutoTokenizer.from_pretrained(place).save_pretrained(place + '{merged}')\""
)
"""The tools leave the adapter alone; dasd's next training starts from the weights that it is merged into."""


def hyper_parameters(stage: ExportStage) -> dict[str, JsonValue]:
    """Arguments of ``transformers.TrainingArguments`` that mean what the recipe's section ``trainer`` means.

    On one device: with N of them ``gradient_accumulation_steps`` has to be divided by N.
    """
    trainer = stage.trainer
    steps: dict[str, JsonValue] = {} if trainer.max_steps is None else {"max_steps": trainer.max_steps}
    return {
        "num_train_epochs": trainer.epochs,
        **steps,
        "learning_rate": trainer.learning_rate,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr": trainer.min_learning_rate},
        "optim": "adamw_torch",
        "adam_beta1": trainer.betas[0],
        "adam_beta2": trainer.betas[1],
        "weight_decay": trainer.weight_decay,
        "max_grad_norm": trainer.clip,
        "per_device_train_batch_size": trainer.micro_batch_size,
        "gradient_accumulation_steps": max(1, round(trainer.batch_size / trainer.micro_batch_size)),
        "bf16": trainer.precision == "bf16",
    }


def not_carried(run: ExportRun) -> Iterator[str]:
    """Hyper-parameters that the receiving tool has no counterpart for."""
    muon = [stage.name for stage in run.stages if stage.trainer.optimizer == "muon"]
    if muon:
        yield (
            f"trainer.optimizer muon ({', '.join(muon)}) is written as AdamW: its learning rate is not AdamW's, "
            "choose one"
        )
    seen = dict.fromkeys(stage.trainer.trainer for stage in run.stages if stage.trainer.options)
    if seen:
        yield f"trainer.options of {', '.join(seen)} are not written"


def start_settings(run: ExportRun, stage: ExportStage) -> dict[str, JsonValue]:
    """What a training starts from: the recipe's student, or what the training before it in the export leaves."""
    before = [other for other in run.stages if other.number < stage.number]
    if before:
        merged = "" if before[-1].trainer.adapter is None else _MERGED
        start: dict[str, JsonValue] = {"model_name_or_path": f"checkpoints/{before[-1].name}{merged}"}
    else:
        start = {"model_name_or_path": resolve_model(run.student.model)}
        if run.student.revision is not None:
            start["model_revision"] = run.student.revision
    return {**start, "trust_remote_code": run.student.trust_remote_code}


def run_settings(run: ExportRun) -> dict[str, JsonValue]:
    """Seed, and what is written how often."""
    return {
        "seed": run.seed % 2**32,
        "logging_steps": 10,
        "save_strategy": "epoch",
        "report_to": "none",
    }


def commands(run: ExportRun, command: str) -> Iterator[str]:
    """``command NAME.yaml`` for each training; behind one of an adapter what the next one starts from is made."""
    for stage in run.stages:
        yield f"{command} {stage.name}.yaml"
        if stage.trainer.adapter is not None and stage is not run.stages[-1]:
            yield _MERGE.format(place=f"checkpoints/{stage.name}", merged=_MERGED)


def write_yaml(path: Path, heading: Sequence[str], values: dict[str, JsonValue]) -> None:
    """A YAML file, its heading as comments."""
    lines = "".join(f"# {line}\n" for line in heading)
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110)
    path.write_text(f"{lines}\n{text}", encoding="utf-8")
