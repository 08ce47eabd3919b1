"""Rows as conversations, and the count of what such rows can't say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from dasd.base.rows_file import FileFormat, RowsFile
from dasd.plugins.exports import ExportedFile, ExportRun, ExportStage

__all__ = ["Lost", "answer_turn", "conversation", "write_stages"]

_MESSAGE = pl.Struct({"role": pl.String, "content": pl.String})


def answer_turn(response: pl.Expr | None = None) -> pl.Expr:
    """The response as a list of one assistant message."""
    content = pl.col("response") if response is None else response
    return pl.concat_list(pl.struct(role=pl.lit("assistant"), content=content)).cast(pl.List(_MESSAGE))


def conversation(response: pl.Expr | None = None) -> pl.Expr:
    """Prompt and response as one list of messages."""
    return pl.col("messages").list.concat(answer_turn(response))


class Lost:
    """Counts rows of which a text format leaves something out."""

    def __init__(self) -> None:
        self.masked_prefixes = 0
        self.weighted = 0
        self.cut_off = 0

    def see(self, frame: pl.DataFrame) -> None:
        """Count a frame's rows."""
        counts = frame.select(
            pl.col("prefix_masked").sum(),
            (pl.col("weight") != 1.0).sum(),
            (pl.col("finish_reason") != "stop").sum(),
        ).row(0)
        self.masked_prefixes += counts[0]
        self.weighted += counts[1]
        self.cut_off += counts[2]

    def sentences(self, advice: str = "") -> Iterator[str]:
        """What to tell; ``advice`` ends the sentence about prefixes."""
        if self.masked_prefixes:
            yield (
                f"{self.masked_prefixes} mixed-policy rows begin with the student's own text, which the recipe "
                f"masks (train_prefix: false) and this format trains{advice}"
            )
        if self.weighted:
            yield f"{self.weighted} rows have a weight other than 1 in the loss; here every row counts alike"
        if self.cut_off:
            yield (
                f"{self.cut_off} responses were cut off and have no end token in training; the receiving tool "
                "will add one"
            )


def write_stages(
    run: ExportRun,
    directory: Path,
    files: FileFormat,
    shape: Callable[[pl.DataFrame], pl.DataFrame],
    name: Callable[[ExportStage], str] = lambda stage: stage.name,
    *,
    sampled_tokens: bool = False,
    trained_tokens: bool = False,
) -> tuple[ExportedFile, ...]:
    """A file a training, called ``name(stage)`` with the suffix of its format: ``shape`` of each frame of its rows.

    ``files``: the format where the run asks for none; the tokens: those that the frames are to have.
    """
    written = []
    for stage in run.stages:
        with RowsFile(directory / name(stage), run.files or files) as file:
            for frame in stage.frames(sampled_tokens=sampled_tokens, trained_tokens=trained_tokens):
                file.write(shape(frame))
                run.on_rows(frame.height)
        written.append(ExportedFile(file.path.name, stage.name, file.rows))
    return tuple(written)
