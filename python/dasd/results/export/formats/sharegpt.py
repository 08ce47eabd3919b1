"""ShareGPT conversations: ``{"id", "conversations": [{"from", "value"}, ...]}``."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from dasd.plugins.exports import Exported, ExportRun
from dasd.results.export.formats.conversations import Lost, conversation, write_stages

__all__ = ["ShareGptExporter"]

_FROM = {"system": "system", "user": "human", "assistant": "gpt"}


class ShareGptExporter:
    """One file a training, named for it."""

    def export(self, run: ExportRun, directory: Path) -> Exported:
        """Write the conversations; thinking stays inline, the system prompt is the first turn."""
        lost = Lost()

        def shape(frame: pl.DataFrame) -> pl.DataFrame:
            lost.see(frame)
            turn = pl.struct(
                pl.element().struct.field("role").replace_strict(_FROM).alias("from"),
                pl.element().struct.field("content").alias("value"),
            )
            return frame.select(id=pl.col("sample_id"), conversations=conversation().list.eval(turn))

        files = write_stages(run, directory, "jsonl", shape)
        advice = (
            "loss on the answer alone and packing are the receiving tool's to set: the format has no place for "
            "them"
        )
        return Exported(files, tuple(lost.sentences()), (advice,))
