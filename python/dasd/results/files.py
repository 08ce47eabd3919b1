"""Writes results to a directory, whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from dasd.base.files import sync, watch_disk
from dasd.errors import InputError
from dasd.results.records import ATTEMPTS, Compared, Evaluation

__all__ = ["ATTEMPTS_FILE", "COMPARISON_FILE", "SCORES_FILE", "write_comparison", "write_scores"]

SCORES_FILE = "scores.json"
COMPARISON_FILE = "comparison.json"
ATTEMPTS_FILE = "attempts.parquet"


def write_scores(directory: Path, evaluations: Sequence[Evaluation], document: dict[str, Any]) -> None:
    """scores.json and attempts.parquet.

    ``document``: of ``scores_document``. The same evaluations give the same bytes. A ``directory`` of an
    earlier call is replaced; any other that isn't empty raises InputError.
    """

    def fill(place: Path) -> None:
        (place / SCORES_FILE).write_bytes(_json(document))
        attempts = pl.concat([ATTEMPTS.empty(), *(evaluation.attempts for evaluation in evaluations)])
        attempts.write_parquet(place / ATTEMPTS_FILE)

    _write(directory, fill)


def write_comparison(directory: Path, compared: Compared, document: dict[str, Any]) -> None:
    """comparison.json and the attempts of both sides, checkpoints by ``compared.names``; as above."""

    def fill(place: Path) -> None:
        (place / COMPARISON_FILE).write_bytes(_json(document))
        sides = (compared.first, compared.second)
        parts = [
            side.attempts.with_columns(checkpoint=pl.lit(name))
            for side, name in zip(sides, compared.names, strict=True)
        ]
        pl.concat(parts).write_parquet(place / ATTEMPTS_FILE)

    _write(directory, fill)


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _write(directory: Path, fill: Callable[[Path], None]) -> None:
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory} is a file; wanted a directory to write to")
    if directory.exists() and (foreign := _foreign(directory)):
        raise InputError(
            f"{directory} holds {foreign}, which is no file of results; wanted a new directory, an empty one, or "
            "that of an earlier call"
        )
    directory = directory.absolute()
    temporary = directory.with_name(f".{directory.name}.tmp")
    former = directory.with_name(f".{directory.name}.former")
    with watch_disk(directory.parent):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            fill(temporary)
            for path in [*temporary.iterdir(), temporary]:
                sync(path)
            if directory.exists():
                shutil.rmtree(former, ignore_errors=True)
                directory.rename(former)
            temporary.rename(directory)
        finally:
            if former.exists() and not directory.exists():
                former.rename(directory)
            shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(former, ignore_errors=True)
        sync(directory.parent)


def _foreign(directory: Path) -> str | None:
    """Something in the directory that no earlier call has written."""
    known = (SCORES_FILE, COMPARISON_FILE, ATTEMPTS_FILE)
    found = (path.name for path in sorted(directory.iterdir()) if path.is_dir() or path.name not in known)
    return next(found, None)
