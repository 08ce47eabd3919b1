"""Rows of users' files that can't be used: told of, and listed one by one in the run directory."""

from __future__ import annotations

import json
from collections.abc import Sequence

from dasd.records import RowsSetAside
from dasd.stages.base import StageContext

__all__ = ["report_set_aside"]


def report_set_aside(context: StageContext, set_aside: Sequence[RowsSetAside], file: str) -> None:
    """Warn of each file's rows, and write all of them to the artifact ``file``, a JSON object a line."""
    if not set_aside:
        return
    lines = []
    for warning in set_aside:
        context.console.warn(f"{warning}; all of them: {file} in the run directory")
        lines += [
            json.dumps({"file": str(warning.path), "row": row.row, "reason": row.reason}, ensure_ascii=False)
            for row in warning.rows
        ]
    context.writer.artifact(file).write_text("\n".join(lines) + "\n", encoding="utf-8")
