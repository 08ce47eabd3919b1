"""TRL: rows of prompt and completion, and a configuration of ``trl sft`` for each training.

TRL trains on completions alone where a row has ``prompt`` and ``completion``; both are lists of messages, which it
renders with the model's chat template. A template may rewrite a response, so the first rows are rendered here as
TRL does and held against what dasd trains. With ``form: tokens`` rows hold ``input_ids`` and ``labels``, which TRL
takes as they are.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from dasd.base.rows_file import FileFormat
from dasd.plugins.exports import Exported, ExportRun, ExportStage
from dasd.recipe.training_settings import TrainerSettings
from dasd.results.export.formats.conversations import Lost, answer_turn, write_stages
from dasd.results.export.formats.rendering import rendering_problem
from dasd.results.export.formats.settings_files import (
    commands,
    hyper_parameters,
    not_carried,
    run_settings,
    start_settings,
    write_yaml,
)

__all__ = ["TrlExporter", "TrlOptions"]

_TOKENS_ADVICE = "; `-o form=tokens` keeps them masked"
IGNORED = -100


class TrlOptions(BaseModel):
    """Options of the exporter ``trl``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    form: Literal["messages", "tokens"] = Field(
        "messages",
        description="`messages`: prompt and completion, rendered by TRL with the model's chat template; `tokens`: "
        "input_ids and labels as dasd trains them, token for token.",
    )


class TrlExporter:
    """``NAME.jsonl`` and ``NAME.yaml`` for each training."""

    def __init__(self, options: TrlOptions) -> None:
        self._tokens = options.form == "tokens"

    def export(self, run: ExportRun, directory: Path) -> Exported:
        """Write rows and configurations."""
        lost = Lost()

        def shape(frame: pl.DataFrame) -> pl.DataFrame:
            lost.see(frame)
            return _token_row(frame) if self._tokens else _message_row(run, frame)

        form: FileFormat = "parquet" if self._tokens else "jsonl"
        files = write_stages(run, directory, form, shape, trained_tokens=self._tokens)
        for stage, data in zip(run.stages, files, strict=True):
            self._configuration(run, stage, directory, data.path)
        told = list(not_carried(run))
        if self._tokens:
            if lost.weighted:
                lost.masked_prefixes = lost.cut_off = 0
                told += lost.sentences()
        else:
            told += lost.sentences(_TOKENS_ADVICE)
            advice = "; `-o form=tokens` exports the tokens that dasd trains"
            problem = rendering_problem(run, advice)
            if problem is not None:
                told.append(problem)
        use = (
            *commands(run, "trl sft --config"),
            "packing isolates neighbours by position ids, which wants flash attention: pip install flash-attn",
            "on N devices divide gradient_accumulation_steps by N",
        )
        return Exported(files, tuple(told), use)

    def _configuration(self, run: ExportRun, stage: ExportStage, directory: Path, data: str) -> None:
        trainer = stage.trainer
        kind = "parquet" if data.endswith(".parquet") else "json"
        loss: dict[str, JsonValue] = {} if self._tokens else {"completion_only_loss": True}
        packing: dict[str, JsonValue] = (
            # The strategy bfd switches padding_free on: neighbours in a pack are told apart by position ids.
            {"packing": True, "packing_strategy": "bfd", "padding_free": True}
            if trainer.packing
            else {"packing": False}
        )
        bf16 = trainer.precision == "bf16"
        write_yaml(
            directory / f"{stage.name}.yaml",
            (
                f"Training {stage.name!r} of run {run.name!r}, written by `dasd export --to trl`. In this directory:",
                f"  trl sft --config {stage.name}.yaml",
            ),
            {
                **start_settings(run, stage),
                "attn_implementation": "flash_attention_2" if bf16 else "sdpa",
                "dtype": "bfloat16" if bf16 else "float32",
                "datasets": [{"path": kind, "data_files": data, "split": "train"}],
                "output_dir": f"checkpoints/{stage.name}",
                **loss,
                "assistant_only_loss": False,
                "max_length": trainer.max_length,
                **packing,
                "shuffle_dataset": True,
                **_adapter(trainer),
                **hyper_parameters(stage),
                "warmup_steps": trainer.warmup_ratio,  # below 1 a share of all steps
                "gradient_checkpointing": trainer.gradient_checkpointing,
                **run_settings(run),
            },
        )


def _adapter(trainer: TrainerSettings) -> dict[str, JsonValue]:
    if trainer.adapter is None:
        return {}
    lora = trainer.lora
    targets: list[JsonValue] = list(lora.targets) or ["all-linear"]
    if len(lora.targets) == 1:
        # TRL hands a single one on as text, which peft takes for a pattern of the whole path.
        targets = [rf"(.*\.)?{re.escape(lora.targets[0])}"]
    return {
        "use_peft": True,
        "lora_r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "lora_target_modules": targets,
    }


def _message_row(run: ExportRun, frame: pl.DataFrame) -> pl.DataFrame:
    rows = frame.select(prompt=pl.col("messages"), completion=answer_turn())
    if not run.student.chat_template_options:
        return rows
    options = pl.Series([run.student.chat_template_options])
    return rows.with_columns(chat_template_kwargs=pl.lit(options).first())


def _token_row(frame: pl.DataFrame) -> pl.DataFrame:
    """``labels`` are the tokens where they are trained, -100 elsewhere."""
    labels = []
    for tokens, mask in frame.select("train_token_ids", "loss_mask").iter_rows():
        place = 0
        row: list[int] = []
        for number, length in enumerate(mask):
            row += tokens[place : place + length] if number % 2 else [IGNORED] * length
            place += length
        labels.append(row)
    return frame.select(
        input_ids=pl.col("train_token_ids").cast(pl.List(pl.Int64)),
        labels=pl.Series(labels, dtype=pl.List(pl.Int64)),
    )
