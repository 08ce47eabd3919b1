"""One cell: an arm at a budget in one world and seed. Run, measured, written down, and tidied away."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from benchmarks.evidence.answers import answer_kinds
from benchmarks.evidence.arms import Arm
from benchmarks.evidence.costs import costs
from benchmarks.evidence.measure import measured
from benchmarks.evidence.places import Place, write_json
from benchmarks.evidence.recipes import TEMPERATURE, cell_recipe, measure_recipe
from benchmarks.evidence.running import QuietConsole, forget, link_stages, machine, run_recipe, save_frame
from benchmarks.evidence.scale import Scale
from benchmarks.evidence.worlds import World
from dasd.store import Run

__all__ = ["RESULT", "finished", "run_cell"]

RESULT = "result.json"
_SELECTION = (
    "teacher_share",
    "score_length_correlation",
    "agreement_longest",
    "agreement_random",
    "agreement_random_expected",
    "wrong_before",
    "wrong_after",
    "tokens_mean_before",
    "tokens_mean_after",
)


def finished(place: Place, arm: Arm, budget: str) -> dict[str, Any] | None:
    """What a finished cell left; None for one that isn't."""
    path = place.cell(arm.name, budget) / RESULT
    return json.loads(path.read_text()) if path.is_file() else None


def run_cell(world: World, place: Place, scale: Scale, arm: Arm, budget: str, *, keep: bool = False) -> None:
    """Run a cell up to its result file, which is written last; an interrupted one goes on where it was.

    Unless ``keep``, only the recipe, the result and the rows of answers, losses and metrics stay.
    """
    if finished(place, arm, budget) is not None:
        return
    clock, wall = time.process_time(), time.perf_counter()
    cell, console = place.cell(arm.name, budget), QuietConsole()
    directory, asked = cell / "run", cell / "measure"
    names = {each.responses for each in arm.trainings}
    shared = {"questions", "sample-heldout", "evaluate-before"} | {
        f"{kind}-{name}" for kind in ("sample", "filter", "dedup", "score") for name in names
    }
    link_stages(place.pool, directory, shared.__contains__)
    recipe = cell_recipe(place, scale, arm, budget)
    run = run_recipe(recipe, directory, world, console)
    stages = [stage["name"] for stage in recipe["stages"]]
    trained, mixed = (
        _trained(recipe),
        [s["name"] for s in recipe["stages"] if s.get("kind") == "mixed-policy"],
    )
    checkpoint = run.artifact(f"train-{stages[-1]}")
    answers = run_recipe(measure_recipe(place, scale, world, str(checkpoint)), asked, world, console)
    origins = answer_kinds(world, place, scale, run, f"evaluate-{stages[-1]}", checkpoint, cell)
    result: dict[str, Any] = {
        "world": world.name,
        "seed": place.seed,
        "arm": arm.name,
        "budget": budget,
        "scale": scale.name,
        "machine": machine(scale.device),
        "measures": measured(run, stages[-1], answers, world) | origins,
        "trainings": {name: _training(run, name) for name in trained},
        "selection": {
            name: _selection(run.summary(f"select-{name}")) for name in TEMPERATURE if name in names
        },
        "mixed": {name: dict(run.summary(f"mix-{name}")) for name in mixed},
        "rounds": {
            name: dict(run.summary(name))
            for name in (each.name for each in run.stages())
            if _is_rollout(name)
        },
        "costs": costs(place, run, recipe, trained),
        "warnings": sorted(set(console.warnings)),
    }
    save_frame(run, "eval", [f"evaluate-{name}" for name in stages], cell / "eval.parquet")
    save_frame(run, "metrics", [f"evaluate-{name}" for name in stages], cell / "metrics.parquet")
    save_frame(run, "losses", [f"train-{name}" for name in trained], cell / "losses.parquet")
    save_frame(answers, "eval", ["evaluate-before"], cell / "eval-measure.parquet")
    result |= {"cpu_seconds": time.process_time() - clock, "seconds": time.perf_counter() - wall}
    write_json(cell / RESULT, result)
    if not keep:
        forget(directory)
        forget(asked)


def _trained(recipe: Mapping[str, Any]) -> list[str]:
    """Names of a recipe's trainings, each on-policy round one."""
    names: list[str] = []
    for stage in recipe["stages"]:
        names += [f"{stage['name']}-{number}" for number in range(1, stage.get("rounds", 1))] + [
            stage["name"]
        ]
    return names


def _is_rollout(name: str) -> bool:
    return name.startswith("rollout-")


def _training(run: Run, name: str) -> dict[str, JsonValue]:
    summary = run.summary(f"train-{name}")
    return {
        key: summary.get(key)
        for key in ("rows", "mixed_rows", "steps", "tokens", "trained_tokens", "last_loss", "seconds")
    }


def _selection(summary: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    return {key: summary.get(key) for key in _SELECTION}
