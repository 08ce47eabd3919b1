"""The two sets that the report's authors published: texts with their metadata, and log-probabilities beside them.

``text``: uuid, input, output, domain, meta (strings; meta is JSON). ``logprobs``: sample_uuid, token_ids, logprobs.
Both have a configuration ``stageN`` for each training, declared in the README's head as the hub and ``datasets``
read it. What ``meta`` holds is all that ``dasd import`` needs to make a file of responses again.
"""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import yaml

from dasd.base.schemas import DRAW
from dasd.plugins.exports import Exported, ExportedFile, ExportRun, ExportStage
from dasd.results.export.formats.conversations import write_stages

__all__ = ["LogprobsExporter", "TextExporter"]

_META = ("question_id", "answer", "verifier", "policy", "prefix_end", *DRAW, "logprobs_mode")


class TextExporter:
    """``stageN-NAME.jsonl`` for each training."""

    def export(self, run: ExportRun, directory: Path) -> Exported:
        """Write the rows; ``input`` is the last user message, ``meta.messages`` the prompt where that isn't all."""
        masked = 0

        def shape(frame: pl.DataFrame) -> pl.DataFrame:
            nonlocal masked
            masked += int(frame["prefix_masked"].sum())
            rows = [_text_row(row, run) for row in frame.iter_rows(named=True)]
            columns = ("uuid", "input", "output", "domain", "meta")
            return pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row")

        files = write_stages(run, directory, "jsonl", shape, _name)
        _readme(directory, run, files)
        told = []
        if run.system_prompt is not None:
            told.append(
                f"the recipe's system prompt ({run.system_prompt!r}) is in this manifest, not in the rows: training "
                "and serving have to set it"
            )
        if masked:
            told.append(
                f"{masked} rows begin with the student's text, which the recipe masks: meta.prefix_end says where"
            )
        return Exported(files, tuple(told), ("dasd import FILE... --to responses.parquet",))


class LogprobsExporter:
    """``stageN-NAME.parquet`` for each training."""

    def export(self, run: ExportRun, directory: Path) -> Exported:
        """Write the rows that have log-probabilities; the others are counted."""
        without = processed = 0

        def shape(frame: pl.DataFrame) -> pl.DataFrame:
            nonlocal without, processed
            known = frame.filter(pl.col("logprobs").is_not_null())
            without += frame.height - known.height
            processed += int((known["logprobs_mode"] != "raw").sum())
            return known.select(pl.col("sample_id").alias("sample_uuid"), "token_ids", "logprobs")

        files = write_stages(run, directory, "parquet", shape, _name, sampled_tokens=True)
        _readme(directory, run, files)
        told = []
        if without:
            told.append(f"{without} responses have no log-probabilities and are left out")
        if processed:
            told.append(
                f"{processed} responses have log-probabilities after temperature or top-p, not the model's own; the "
                "text set's meta.logprobs_mode says which"
            )
        return Exported(files, tuple(told), ("dasd import TEXTS... FILE... --to responses.parquet",))


def _name(stage: ExportStage) -> str:
    return f"stage{stage.number}-{stage.name}"


def _text_row(row: dict[str, object], run: ExportRun) -> tuple[object, ...]:
    messages = row["messages"]
    assert isinstance(messages, list)
    if messages and messages[0] == {"role": "system", "content": run.system_prompt}:
        messages = messages[1:]
    meta = {name: _short(row[name]) for name in _META if row[name] is not None}
    if [turn["role"] for turn in messages] != ["user"]:
        meta["messages"] = messages
    if row["opening"]:
        meta["think_opened"] = row["opening"]  # the tokens begin behind it
    return (
        row["sample_id"],
        messages[-1]["content"],
        row["response"],
        row["domain"],
        json.dumps(meta, ensure_ascii=False),
    )


def _short(value: object) -> object:
    """Numbers that are stored in 32 bits, in as few digits as tell them apart: 0.6, not 0.6000000238418579."""
    return float(f"{value:.7g}") if isinstance(value, float) else value


def _readme(directory: Path, run: ExportRun, files: tuple[ExportedFile, ...]) -> None:
    """The head that names the files of each configuration, and a line."""
    numbers = {stage.name: stage.number for stage in run.stages}
    configs = [
        {"config_name": f"stage{numbers[file.stage]}", "data_files": file.path} for file in files if file.rows
    ]
    head = yaml.safe_dump({"configs": configs}, sort_keys=False)
    names = ", ".join(f"stage{numbers[file.stage]} is training {file.stage!r}" for file in files)
    text = f"---\n{head}---\n\nResponses of {run.teacher.model} out of the run {run.name!r}: {names}.\n"
    (directory / "README.md").write_text(text, encoding="utf-8")
