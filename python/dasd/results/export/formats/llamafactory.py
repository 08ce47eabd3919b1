"""LLaMA-Factory: conversations, their entry in ``dataset_info.json``, and a configuration for each training.

``neat_packing`` keeps packed neighbours from attending to one another; ``packing`` alone doesn't. ``mask_history``
trains the last answer of a conversation and nothing before it. Without ``template`` LLaMA-Factory takes the chat
template apart that the student's tokenizer brings.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from dasd.models.tokens.think_opening import Reading
from dasd.plugins.exports import Exported, ExportedFile, ExportRun, ExportStage
from dasd.recipe.training_settings import TrainerSettings
from dasd.results.export.formats.conversations import Lost, conversation, write_stages
from dasd.results.export.formats.settings_files import (
    commands,
    hyper_parameters,
    not_carried,
    run_settings,
    start_settings,
    write_yaml,
)

__all__ = ["LlamaFactoryExporter", "LlamaFactoryOptions"]


class LlamaFactoryOptions(BaseModel):
    """Options of the exporter ``llamafactory``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    template: str | None = Field(
        None,
        description="LLaMA-Factory's name of the student's chat format, e.g. `qwen3_nothink`; when absent it is taken "
        "from the student's tokenizer.",
    )


class LlamaFactoryExporter:
    """``NAME.jsonl`` and ``NAME.yaml`` for each training, and ``dataset_info.json``."""

    def __init__(self, options: LlamaFactoryOptions) -> None:
        self._template = options.template

    def export(self, run: ExportRun, directory: Path) -> Exported:
        """Write rows, their description and configurations."""
        lost = Lost()
        dropped = 0
        # The template that is taken from the tokenizer ends the prompt with the tag: the answer mustn't begin with it.
        reading = Reading("", run.student_opening() if self._template is None else "")

        def shape(frame: pl.DataFrame) -> pl.DataFrame:
            nonlocal dropped
            lost.see(frame)
            dropped += frame.height - int(frame.select(_alternates().sum()).item())
            return frame.select(messages=conversation(pl.lit(reading.texts(frame["response"]))))

        files = write_stages(run, directory, "jsonl", shape)
        described: dict[str, JsonValue] = {}
        for stage, data in zip(run.stages, files, strict=True):
            described[_dataset(run, stage)] = _description(data)
            self._configuration(run, stage, directory)
        info = json.dumps(described, indent=2, ensure_ascii=False)
        (directory / "dataset_info.json").write_text(info + "\n", encoding="utf-8")
        return Exported(files, tuple(self._told(run, lost, dropped)), _use(run))

    def _told(self, run: ExportRun, lost: Lost, dropped: int) -> list[str]:
        told = [*not_carried(run), *lost.sentences()]
        if dropped:
            told.append(
                f"{dropped} conversations aren't a system message and then user and assistant by turns; "
                "LLaMA-Factory drops those"
            )
        if run.student.chat_template_options:
            told.append("student.chat_template_options are not written: LLaMA-Factory has no place for them")
        return told

    def _configuration(self, run: ExportRun, stage: ExportStage, directory: Path) -> None:
        trainer = stage.trainer
        template: dict[str, JsonValue] = {} if self._template is None else {"template": self._template}
        system: dict[str, JsonValue] = (
            {} if run.system_prompt is None else {"default_system": run.system_prompt}
        )
        write_yaml(
            directory / f"{stage.name}.yaml",
            (
                f"Training {stage.name!r} of run {run.name!r}, written by `dasd export --to llamafactory`.",
                "In this directory:",
                f"  llamafactory-cli train {stage.name}.yaml",
            ),
            {
                **start_settings(run, stage),
                "flash_attn": "fa2" if trainer.precision == "bf16" else "sdpa",
                "stage": "sft",
                "do_train": True,
                **_finetuning(trainer),
                "dataset_dir": ".",
                "dataset": _dataset(run, stage),
                **template,
                **system,
                "enable_thinking": True,  # False would cut the reasoning out of the answers
                "train_on_prompt": False,
                "mask_history": True,
                "cutoff_len": trainer.max_length,
                "packing": trainer.packing,
                "neat_packing": trainer.packing,
                "output_dir": f"checkpoints/{stage.name}",
                **hyper_parameters(stage),
                "warmup_ratio": trainer.warmup_ratio,
                "disable_gradient_checkpointing": not trainer.gradient_checkpointing,
                **run_settings(run),
            },
        )


def _finetuning(trainer: TrainerSettings) -> dict[str, JsonValue]:
    if trainer.adapter is None:
        return {"finetuning_type": "full"}
    lora = trainer.lora
    return {
        "finetuning_type": "lora",
        "lora_rank": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "lora_target": ",".join(lora.targets) or "all",
    }


def _dataset(run: ExportRun, stage: ExportStage) -> str:
    """Name of a dataset: a list of names is separated by commas, so none may be in it."""
    return re.sub(r"[^A-Za-z0-9_]", "_", f"{run.name}_{stage.name}")


def _description(data: ExportedFile) -> dict[str, JsonValue]:
    return {
        "file_name": data.path,
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "system_tag": "system",
        },
    }


def _alternates() -> pl.Expr:
    """Whether a prompt is: perhaps a system message, then user, assistant, user ..., user."""
    roles = pl.col("messages").list.eval(pl.element().struct.field("role")).list.join(" ")
    return roles.str.contains(r"^(system )?user( assistant user)*$")


def _use(run: ExportRun) -> tuple[str, ...]:
    return (
        *commands(run, "llamafactory-cli train"),
        (
            "hold the example that LLaMA-Factory prints before training against the one in the run's report: dasd "
            "doesn't know what it makes of a chat template; `-o template=NAME` names one of its own"
        ),
        "on N devices divide gradient_accumulation_steps by N",
    )
