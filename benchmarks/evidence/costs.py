"""What a cell took, in tokens and floating-point operations, so that arms can be compared at equal cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from safetensors import safe_open

from benchmarks.evidence.places import Place
from benchmarks.evidence.recipes import GIVEN, TEMPERATURE
from dasd.store import Run

__all__ = ["costs"]

UNSCORED = ("random", "longest")
"""Selectors that need no student."""
_TOKENS = pl.col("token_ids").list.len().sum()


def costs(place: Place, run: Run, recipe: Mapping[str, Any], trained: Sequence[str]) -> dict[str, float]:
    """Tokens by who does what, and ``flop``: 2 a parameter and token, 6 in training (attention and prompts aside).

    ``trained``: names of the trainings in ``run``. Teacher responses count with all candidates that the arm chose from,
    each once however often it is trained on; the student's scores of them only where selection needs them. What the
    teacher continues counts with the student's beginning, which it reads. Evaluation counts for no arm.
    """
    used = [stage["name"] for stage in recipe["stages"] if stage["name"] in TEMPERATURE]
    sources = {source for name in used for source in GIVEN.get(name, (name,))}
    found = {
        "teacher_sampled": sum(_tokens(pl.scan_parquet(place.responses(name))) for name in sources),
        "teacher_scored": 0,
        "student_sampled": 0,
        "student_scored": 0,
        "trained": sum(_trained(run, name) for name in trained),
    }
    if recipe["select"]["selector"] not in UNSCORED:
        found["student_scored"] = sum(_tokens(run.frame("scores", f"score-{name}")) for name in used)
    for stage in (each.name for each in run.stages()):
        if stage.startswith("mix-"):
            rows = run.frame("samples", stage)
            by_student = pl.col("stage").str.ends_with("-student")
            found["student_sampled"] += _tokens(rows.filter(by_student))
            found["teacher_sampled"] += _tokens(rows.filter(~by_student))
        elif stage.startswith("rollout-"):
            tokens = _tokens(run.frame("samples", stage))
            found["student_sampled"] += tokens
            found["teacher_scored"] += tokens
    teacher, student = (_parameters(place.model(role)) for role in ("teacher", "student"))
    flop = (
        2 * teacher * (found["teacher_sampled"] + found["teacher_scored"])
        + 2 * student * (found["student_sampled"] + found["student_scored"])
        + 6 * student * found["trained"]
    )
    return {**found, "flop": float(flop)}


def _trained(run: Run, name: str) -> int:
    tokens = run.summary(f"train-{name}").get("tokens")
    return tokens if isinstance(tokens, int) else 0


def _tokens(rows: pl.LazyFrame) -> int:
    return int(rows.select(_TOKENS).collect().item() or 0)


def _parameters(model: Path) -> int:
    """Of a model directory; tied weights are stored once."""
    total = 0
    for path in model.glob("*.safetensors"):
        with safe_open(path, framework="numpy") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (no mapping)
                size = 1
                for length in tensors.get_slice(name).get_shape():
                    size *= length
                total += size
    return total
