"""The learning curve: a line of JSON for every optimiser step, whole over any number of kills."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from dasd.base.files import append_line, canonical_json, line_of, mend_lines, write_whole
from dasd.base.schemas import LOSSES, ON_POLICY_LOSSES, check
from dasd.errors import StoreError
from dasd.plugins.roles import OwnFigures, TrainProgress

_COLUMNS = tuple(name for name in LOSSES.columns if name != "stage")
_OWN = tuple(name for name in ON_POLICY_LOSSES.columns if name not in LOSSES.columns)


class Curve:
    """``losses.jsonl`` in the state directory of one training stage."""

    def __init__(self, directory: Path, stage: str, step: int, *, on_policy: bool = False) -> None:
        """Go on after step ``step`` (0: anew): lines of later steps, which a kill has undone, are dropped.

        Raises StoreError for a file that was altered or lacks a step.
        """
        self._path = directory / "losses.jsonl"
        self._stage = stage
        self._schema = ON_POLICY_LOSSES if on_policy else LOSSES
        rows = [row for row in mend_lines(self._path) if isinstance(row, dict)] if step else []
        self._rows = rows[:step]  # a line a step
        if [row.get("step") for row in self._rows] != list(range(1, step + 1)):
            raise StoreError(
                f"{self._path} is damaged: it lacks losses of the {step} steps that were trained. Restore it from a "
                f"copy, or remove {directory} and give the same command again: this training then starts anew.",
                self._path,
            )
        write_whole(self._path, b"".join(line_of(canonical_json(row)) for row in self._rows))

    @property
    def last_step(self) -> int:
        """Number of the last step on the curve; 0 before the first."""
        return int(str(self._rows[-1]["step"])) if self._rows else 0

    def append(self, progress: TrainProgress, *, durable: bool) -> None:
        """Add a step. ``durable``: on the disk when this returns, as before a state that counts it."""
        row = {name: getattr(progress, name) for name in _COLUMNS}
        if progress.own is not None:
            row |= {name: getattr(progress.own, name) for name in _OWN}
        append_line(self._path, canonical_json(row), durable=durable)
        self._rows.append(row)

    @property
    def first_own(self) -> OwnFigures | None:
        """Figures of the first step that has any."""
        for row in self._rows:
            if _OWN[0] in row:
                *always, forward = (row[name] for name in _OWN)
                moved, entropy, reverse = (float(str(each)) for each in always)
                return OwnFigures(moved, entropy, reverse, None if forward is None else float(str(forward)))
        return None

    def frame(self) -> pl.DataFrame:
        """All steps so far, as LOSSES, of an on-policy training as ON_POLICY_LOSSES."""
        columns = dict(self._schema.columns)
        rows = [{"stage": self._stage, **row} for row in self._rows]
        frame = pl.DataFrame(
            [[row.get(name) for name in columns] for row in rows], schema=columns, orient="row"
        )
        return check(frame, self._schema, f"training {self._stage!r}")
